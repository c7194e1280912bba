"""Fig. 2: does the gain of an image set follow its similarity to the original and its variance?

The paper repeats this on hazelnut and prints no correlation of the gain; of the original with the prompts it prints .39
(naïve), .35 (word) and .54 (ours). Here all 15 categories, each with sets that differ in prompt, L and variance; the
report correlates each category by itself and all together.

Costs 900 cells, 135 trainings, about 1 GPU hour (an estimate: docs/experiments.md).

    goodshot sweep fig2 --root DIR --out runs/fig2
    goodshot sweep fig2 --root DIR --set categories=[hazelnut] --out runs/fig2        the paper's category alone
"""

from goodshot.experiments.flavours import paper, quick
from goodshot.experiments.published.tgi import FIGURE_2
from goodshot.runner.study.experiment import Experiment
from goodshot.runner.study.study import Study


def fig2() -> tuple[Study, ...]:
    """Eighteen image sets of each support, of three trainings that Table 3 makes too."""
    study = paper(
        "fig2",
        "Similarity and variance of image sets against their gain",
        iterations=[20, 100],
        prompt_kind=["only_word", "naive", "best"],
        variance=["estimated", "none", "unit"],
    )
    return (study,)


FIG2 = Experiment(
    "fig2",
    "Similarity and variance against the gain",
    real=fig2,
    quick=lambda: tuple(quick(study, iterations=[5, 20]) for study in fig2()),
    references=FIGURE_2,
    item="Fig. 2",
)
