"""Fig. 10: the latents and the images with estimated variance, without variance, and with that of a unit (hazelnut).

The paper shows a histogram of latents and images, and prints no numbers. What the variance is worth to a detector is a
part of Table 3.

Costs 18 cells, 9 trainings, about 0.1 GPU hours (an estimate: docs/experiments.md).

    goodshot sweep fig10 --root DIR --out runs/fig10
"""

from goodshot.experiments.flavours import paper, quick
from goodshot.runner.study.experiment import Experiment
from goodshot.runner.study.study import Study


def fig10() -> tuple[Study, ...]:
    """The distribution of the latents, and the quality of the images that are decoded from them."""
    study = paper(
        "fig10",
        "Latents and images by variance",
        categories=["hazelnut"],
        cells=["latents", "images"],
        arms=["generated"],
        variance=["estimated", "none", "unit"],
    )
    return (study,)


FIG10 = Experiment(
    "fig10",
    "Latents and images with and without variance",
    real=fig10,
    quick=lambda: tuple(map(quick, fig10())),
    item="Fig. 10",
)
