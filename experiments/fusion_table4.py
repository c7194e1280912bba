"""Table 4 of AnomalyXFusion: accuracy of defect types by a classifier that learned made defects, MVTec AD.

The paper, mean: Crop-P 40.55; AnomalyDiffusion 66.09; AnomalyXFusion 74.70. Toothbrush has a single type.

Costs 168 cells, 90 fusions, about 92 GPU hours and the classifiers' (an estimate: docs/defects.md).

    goodshot sweep fusion_table4 --root DIR --out runs/fusion_table4 --set synthesis.captions=DIR/mvtec_caption
"""

from goodshot.experiments.fusion_flavours import in_thirds, quick_fusion
from goodshot.experiments.published.fusion_references import references
from goodshot.runner.study.experiment import Experiment
from goodshot.runner.study.study import Study


def fusion_table4() -> tuple[Study, ...]:
    """A classifier for each source of defects with types, tested on the last two thirds."""
    study = in_thirds(
        "fusion_table4",
        "Classification by made defects",
        cells=["classification"],
        arms=["real_defects", "crop_paste", "fusion:none", "fusion"],
    )
    return (study,)


FUSION_TABLE4 = Experiment(
    "fusion_table4",
    "Accuracy of defect types, MVTec AD",
    real=fusion_table4,
    quick=lambda: tuple(map(quick_fusion, fusion_table4())),
    references=references(4),
    item="Table 4 of AnomalyXFusion",
)
