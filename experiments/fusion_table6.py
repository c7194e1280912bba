"""Table 6 of AnomalyXFusion: what the caption (Text), in-fusion (MIF) and dynamic fusion (DDF) contribute, MVTec AD.

The paper, IS / IC-LPIPS / accuracy: none 1.63 / .23 / 65.38; Text 1.65 / .26 / 67.39; Text and MIF 1.73 / .29 / 69.47;
Text and DDF 1.76 / .28 / 69.54; all 1.82 / .33 / 74.70.

Costs 435 cells, 225 fusions, about 230 GPU hours and the classifiers' (an estimate: docs/defects.md).

    goodshot sweep fusion_table6 --root DIR --out runs/fusion_table6 --set synthesis.captions=DIR/mvtec_caption
"""

from goodshot.experiments.fusion_flavours import ABLATION, in_thirds, quick_fusion
from goodshot.experiments.published.fusion_references import ablation
from goodshot.runner.study.experiment import Experiment
from goodshot.runner.study.study import Study


def fusion_table6() -> tuple[Study, ...]:
    """A fusion for each row of the table."""
    study = in_thirds(
        "fusion_table6",
        "What the parts of the fusion contribute",
        cells=["defect_images", "classification"],
        arms=ABLATION,
    )
    return (study,)


FUSION_TABLE6 = Experiment(
    "fusion_table6",
    "Ablation of the fusion's parts",
    real=fusion_table6,
    quick=lambda: tuple(map(quick_fusion, fusion_table6())),
    references=ablation(),
    item="Table 6 of AnomalyXFusion",
)
