"""Table 2: the quality of generated images by prompt (hazelnut): IS, SSIM, PSNR, LPIPS. No detector takes part.

The paper, IS / SSIM / PSNR: only word 1.62 / 0.50 / 19.01; naïve 1.34 / 0.78 / 23.46; worst 4.56 / 0.79 / 23.57;
ours 22.59 / 0.90 / 28.39. Its LPIPS (702 to 984) is on no usual scale. IS is at most the number of images, hence 100.

Costs 15 cells, 3 trainings, under 0.1 GPU hours (an estimate: docs/experiments.md).

    goodshot sweep table2 --root DIR --out runs/table2
"""

from goodshot.experiments.flavours import paper, quick
from goodshot.experiments.published.tgi import TABLE_2
from goodshot.runner.study.experiment import Experiment
from goodshot.runner.study.study import Study


def table2() -> tuple[Study, ...]:
    """The image sets that four prompts choose of one training, and as many plainly augmented images."""
    study = paper(
        "table2",
        "Image quality by prompt",
        categories=["hazelnut"],
        cells=["images"],
        arms=["augmented", "generated"],
        copies=[100],
        prompt_kind=["only_word", "naive", "worst", "best"],
    )
    return (study,)


TABLE2 = Experiment(
    "table2",
    "The quality of generated images by prompt",
    real=table2,
    quick=lambda: tuple(map(quick, table2())),
    references=TABLE_2,
    item="Table 2",
)
