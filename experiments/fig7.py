"""Fig. 7: MVTec LOCO AD, PatchCore, one shot: logical and structural anomalies apart.

The paper's gains: logical 15.5 % in detection, 15.8 % in segmentation; structural 10.6 % and 4.3 %. Segmentation is
pixel AUROC in the paper; AU-sPRO at FPR ≤ 0.05, the dataset's own measure, is in ``metrics/`` and in the report beside
it. The embedded photographs have no logical anomalies: the quick flavour shows their own kinds of defects.

Costs 45 cells, 15 trainings, about 0.1 GPU hours (an estimate: docs/experiments.md).

    goodshot sweep fig7 --root DIR --out runs/fig7
"""

from goodshot.experiments.flavours import paper, quick
from goodshot.experiments.published.field import field
from goodshot.experiments.published.tgi import FIGURE_7
from goodshot.runner.study.experiment import Experiment
from goodshot.runner.study.study import Study


def fig7() -> tuple[Study, ...]:
    """The five categories of MVTec LOCO AD."""
    return (paper("fig7", "One shot, by kind of anomaly", dataset={"name": "mvtec_loco"}),)


FIG7 = Experiment(
    "fig7",
    "MVTec LOCO AD: logical and structural anomalies",
    real=fig7,
    quick=lambda: tuple(map(quick, fig7())),
    references=(*FIGURE_7, *field("mvtec_loco", "1")),
    item="Fig. 7",
)
