"""Fig. 6: BTAD, PatchCore, one shot: an object (01) and a texture (02).

The paper's gains: object 20.2 % in detection, 4.4 % in segmentation; texture 4.0 % and 1.3 %. It says nothing about 03.

Costs 27 cells, 9 trainings, about 0.1 GPU hours (an estimate: docs/experiments.md).

    goodshot sweep fig6 --root DIR --out runs/fig6
"""

from goodshot.experiments.flavours import paper, quick
from goodshot.experiments.published.tgi import FIGURE_6
from goodshot.runner.study.experiment import Experiment
from goodshot.runner.study.study import Study


def fig6() -> tuple[Study, ...]:
    """The three categories of BTAD."""
    return (paper("fig6", "One shot, object and texture", dataset={"name": "btad"}),)


FIG6 = Experiment(
    "fig6",
    "BTAD: object against texture",
    real=fig6,
    quick=lambda: tuple(quick(study, categories=["coin", "gravel"]) for study in fig6()),
    references=FIGURE_6,
    item="Fig. 6",
)
