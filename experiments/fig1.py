"""Fig. 1: four detectors on metal_nut with 1, 5 and all training images, with and without generated images.

The paper prints no numbers in the figure; those of its repository's README are beside the results: with one shot .888
(PatchCore), .796 (CFlow), .627 (Reverse Distillation), .621 (EfficientAD); with all images 1.000, .992, .970, .751, the
last two under labels that seem exchanged. It is the part of Fig. 5 about one category, and shares its trainings.

Costs 108 cells, 9 trainings, about 37 GPU hours (an estimate: docs/experiments.md).

    goodshot sweep fig1 --root DIR --out runs/fig1
"""

from goodshot.experiments.fig5 import QUICK_DETECTORS, by_shots
from goodshot.experiments.flavours import quick
from goodshot.experiments.published.tgi_readme import README
from goodshot.runner.study.experiment import Experiment
from goodshot.runner.study.study import Study


def fig1() -> tuple[Study, ...]:
    """A study for each number of shots, on metal_nut."""
    return by_shots("fig1", "Four detectors on one category", categories=["metal_nut"])


def fig1_quick() -> tuple[Study, ...]:
    """Two of the detectors with one and five shots of the coin."""
    one, five, _ = fig1()
    return tuple(quick(study, detectors=QUICK_DETECTORS[:2]) for study in (one, five))


FIG1 = Experiment(
    "fig1",
    "Four detectors on metal_nut with 1, 5 and all images",
    real=fig1,
    quick=fig1_quick,
    references=tuple(one for one in README if one.where["category"] == "metal_nut"),
    item="Fig. 1",
)
