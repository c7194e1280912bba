"""Table 5 of AnomalyXFusion: accuracy of kinds of anomalies by a classifier that learned made ones, MVTec LOCO.

The paper, mean: DFMGAN 35.97; AnomalyDiffusion 45.44; AnomalyXFusion 50.95. It prints an accuracy for each kind.

Costs 60 cells, 30 fusions, about 23 GPU hours and the classifiers' (an estimate: docs/defects.md).

    goodshot sweep fusion_table5 --root DIR --out runs/fusion_table5 --set synthesis.captions=DIR/mvtec_caption
"""

from goodshot.experiments.fusion_flavours import in_thirds, quick_fusion
from goodshot.experiments.published.fusion_references import references
from goodshot.runner.study.experiment import Experiment
from goodshot.runner.study.study import Study


def fusion_table5() -> tuple[Study, ...]:
    """A classifier for each source of anomalies, tested on the last two thirds."""
    study = in_thirds(
        "fusion_table5",
        "Classification by made anomalies, LOCO",
        cells=["classification"],
        arms=["real_defects", "crop_paste", "fusion:none", "fusion"],
        dataset={"name": "mvtec_loco"},
    )
    return (study,)


FUSION_TABLE5 = Experiment(
    "fusion_table5",
    "Accuracy of kinds of anomalies, MVTec LOCO",
    real=fusion_table5,
    quick=lambda: tuple(map(quick_fusion, fusion_table5())),
    references=references(5),
    item="Table 5 of AnomalyXFusion",
)
