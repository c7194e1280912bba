"""Fig. 4 of AnomalyXFusion: good image, made defect, mask and caption, for each category.

Costs 45 cells, 45 fusions, about 27 GPU hours (an estimate: docs/defects.md).

    goodshot sweep fusion_fig4 --root DIR --out runs/fusion_fig4 --set synthesis.captions=DIR/mvtec_caption
"""

from goodshot.experiments.fusion_flavours import in_thirds, quick_fusion
from goodshot.runner.study.experiment import Experiment
from goodshot.runner.study.study import Study


def fusion_fig4() -> tuple[Study, ...]:
    """A few defects of each type, by the whole fusion."""
    study = in_thirds(
        "fusion_fig4",
        "Made defects with their captions",
        cells=["defect_images"],
        arms=["fusion"],
        # The first ones of those that the tables measure.
        copies=[8],
    )
    return (study,)


FUSION_FIG4 = Experiment(
    "fusion_fig4",
    "Made defects with their captions",
    real=fusion_fig4,
    quick=lambda: tuple(map(quick_fusion, fusion_fig4())),
    item="Fig. 4 of AnomalyXFusion",
)
