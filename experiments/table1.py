"""Table 1 and Fig. 3: what one added image is worth, by where it comes from (hazelnut, PatchCore, one shot).

The paper, image / pixel AUROC in %: original 88.3 / 94.3; web 84.8 / 93.1; Midjourney 82.7 / 93.3; DALL-E 85.7 / 91.9;
VQGAN-CLIP with the word 64.8 / 86.8, the naïve prompt 71.9 / 88.2, the caption 81.4 / 91.7; ours 93.3 / 94.6.

Costs 30 cells, 3 trainings, about 0.1 GPU hours (an estimate: docs/experiments.md).

    goodshot sweep table1 --root DIR --out runs/table1

Images of other sources are yours to bring: a folder each, called ``web``, ``midjourney`` and ``dalle`` if they are to
stand beside the paper's numbers, each with at least one image. The experiment runs without them, or with any of them:

    --set 'arms=[original, augmented, "external:photos/web", "external:photos/dalle", vqgan_clip, generated]'

Both arms with a text have the best prompt as well, which the paper's VQGAN-CLIP has not.
"""

from goodshot.experiments.flavours import paper, quick
from goodshot.experiments.published.tgi import CAPTION, TABLE_1
from goodshot.runner.study.experiment import Experiment
from goodshot.runner.study.study import Study


def table1() -> tuple[Study, ...]:
    """One image is added to one hazelnut: plain augmentation, VQGAN-CLIP's and ours, by each prompt."""
    study = paper(
        "table1",
        "One added image by its source",
        categories=["hazelnut"],
        copies=[1],
        arms=["original", "augmented", "vqgan_clip", "generated"],
        prompt_kind=["only_word", "naive", "caption", "best"],
        prompt={"caption": CAPTION},
    )
    return (study,)


TABLE1 = Experiment(
    "table1",
    "What one added image is worth, by its source",
    real=table1,
    quick=lambda: tuple(quick(study, copies=[1]) for study in table1()),
    references=TABLE_1,
    item="Table 1, Fig. 3",
)
