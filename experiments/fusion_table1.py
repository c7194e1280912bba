"""Table 1 of AnomalyXFusion: IS and IC-LPIPS of made defects on MVTec AD, by method.

The paper, mean IS / IC-LPIPS: Crop-P 1.51 / 0.14; AnomalyDiffusion 1.80 / 0.32; AnomalyXFusion 1.82 / 0.33. Here it is
measured too how much of the background survives, because IC-LPIPS rewards damage to it.

Costs 135 cells, 90 fusions, about 92 GPU hours (an estimate: docs/defects.md).

    goodshot sweep fusion_table1 --root DIR --out runs/fusion_table1 --set synthesis.captions=DIR/mvtec_caption
"""

from goodshot.experiments.fusion_flavours import in_thirds, quick_fusion
from goodshot.experiments.published.fusion_references import references
from goodshot.runner.study.experiment import Experiment
from goodshot.runner.study.study import Study


def fusion_table1() -> tuple[Study, ...]:
    """Defects of each category by crop-paste, textual inversion alone, and fusion."""
    study = in_thirds(
        "fusion_table1",
        "Quality of made defects",
        cells=["defect_images"],
        arms=["crop_paste", "fusion:none", "fusion"],
    )
    return (study,)


FUSION_TABLE1 = Experiment(
    "fusion_table1",
    "The quality of made defects, MVTec AD",
    real=fusion_table1,
    quick=lambda: tuple(map(quick_fusion, fusion_table1())),
    references=references(1),
    item="Table 1 of AnomalyXFusion",
)
