"""Table 2 of AnomalyXFusion: IS and IC-LPIPS of made defects on MVTec LOCO, by method.

The paper, mean IS / IC-LPIPS: DFMGAN 1.27 / 0.22; AnomalyDiffusion 1.44 / 0.28; AnomalyXFusion 1.69 / 0.33.

Costs 45 cells, 30 fusions, about 23 GPU hours (an estimate: docs/defects.md).

    goodshot sweep fusion_table2 --root DIR --out runs/fusion_table2 --set synthesis.captions=DIR/mvtec_caption
"""

from goodshot.experiments.fusion_flavours import in_thirds, quick_fusion
from goodshot.experiments.published.fusion_references import references
from goodshot.runner.study.experiment import Experiment
from goodshot.runner.study.study import Study


def fusion_table2() -> tuple[Study, ...]:
    """Logical and structural anomalies by crop-paste, textual inversion alone, and fusion."""
    study = in_thirds(
        "fusion_table2",
        "Quality of made anomalies, LOCO",
        cells=["defect_images"],
        arms=["crop_paste", "fusion:none", "fusion"],
        dataset={"name": "mvtec_loco"},
    )
    return (study,)


FUSION_TABLE2 = Experiment(
    "fusion_table2",
    "The quality of made anomalies, MVTec LOCO",
    real=fusion_table2,
    quick=lambda: tuple(map(quick_fusion, fusion_table2())),
    references=references(2),
    item="Table 2 of AnomalyXFusion",
)
