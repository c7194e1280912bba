"""Fig. 5 of AnomalyXFusion: the same sites, filled by a fusion with fewer and more parts.

Costs 225 cells, 225 fusions, about 230 GPU hours (an estimate: docs/defects.md).

    goodshot sweep fusion_fig5 --root DIR --out runs/fusion_fig5 --set synthesis.captions=DIR/mvtec_caption
"""

from goodshot.experiments.fusion_flavours import ABLATION, in_thirds, quick_fusion
from goodshot.runner.study.experiment import Experiment
from goodshot.runner.study.study import Study


def fusion_fig5() -> tuple[Study, ...]:
    """The sites of a seed are the same for every arm."""
    study = in_thirds(
        "fusion_fig5",
        "Made defects by the fusion's parts",
        cells=["defect_images"],
        arms=ABLATION,
    )
    return (study,)


FUSION_FIG5 = Experiment(
    "fusion_fig5",
    "Made defects by the fusion's parts",
    real=fusion_fig5,
    quick=lambda: tuple(map(quick_fusion, fusion_fig5())),
    item="Fig. 5 of AnomalyXFusion",
)
