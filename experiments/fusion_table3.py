"""Table 3 of AnomalyXFusion: localisation by a U-Net that learned made defects, MVTec AD.

The paper, mean AUC-P / AP-P / F1-P / AUC-I / AP-I / F1-I: AnomalyDiffusion 99.1 / 81.4 / 76.3 / 99.2 / 99.7 / 98.7;
AnomalyXFusion 99.3 / 86.1 / 80.6 / 99.2 / 99.8 / 98.7. Here the checkpoint is chosen on a part of the training third,
and the real third alone is an arm, which the paper leaves out.

Costs 270 cells, 90 fusions, 270 segmenters, about 190 GPU hours (an estimate: docs/defects.md).

    goodshot sweep fusion_table3 --root DIR --out runs/fusion_table3 --set synthesis.captions=DIR/mvtec_caption
"""

from goodshot.experiments.fusion_flavours import in_thirds, quick_fusion
from goodshot.experiments.published.fusion_references import references
from goodshot.runner.study.experiment import Experiment
from goodshot.runner.study.study import Study


def fusion_table3() -> tuple[Study, ...]:
    """A segmenter for each source of defects, tested on the last two thirds and the good images."""
    study = in_thirds(
        "fusion_table3",
        "Localisation by made defects",
        cells=["segmentation"],
        arms=["real_defects", "crop_paste", "cutpaste", "draem_skimage", "fusion:none", "fusion"],
    )
    return (study,)


FUSION_TABLE3 = Experiment(
    "fusion_table3",
    "Localisation by a U-Net that learned made defects",
    real=fusion_table3,
    quick=lambda: tuple(map(quick_fusion, fusion_table3())),
    references=references(3),
    item="Table 3 of AnomalyXFusion",
)
