"""Both systems on the same test images, which neither paper has: TGI's good images for a detector, AnomalyXFusion's
defects for a segmenter, side by side and as one score, whose weight is chosen on synthetic anomalies.

Costs 270 cells, 45 fusions, 135 segmenters, about 95 GPU hours, and 45 generators (an estimate: docs/defects.md).

    goodshot sweep both_systems --root DIR --out runs/both_systems --set synthesis.captions=DIR/mvtec_caption
"""

from goodshot.experiments.fusion_flavours import COPIES, PUBLISHED, in_thirds, quick_fusion
from goodshot.runner.study.experiment import Experiment
from goodshot.runner.study.study import Study

GOOD_COPIES = 20
SHOTS = 48
"""Good photographs of each category. The others, of which every category of MVTec AD has some, choose the combination:
neither system has seen them."""


def both_systems() -> tuple[Study, ...]:
    """A detector on the originals and on generated good images; a segmenter on real, pasted and fused defects."""
    study = in_thirds(
        "both_systems",
        "Generated good images and made defects together",
        cells=["both"],
        shots=SHOTS,
        # Of good images as many as a detector's table adds (TGI, Table 3), of defects as many as a segmenter's.
        copies=[GOOD_COPIES],
        synthesis={**PUBLISHED, "copies": COPIES},
        arms=["original", "generated", "real_defects", "crop_paste", "fusion"],
    )
    return (study,)


QUICK_GENERATOR = {"iterations": [20], "score_every": 5, "generator": {"resolution": 64, "originals_per_step": 1}}

BOTH_SYSTEMS = Experiment(
    "both_systems",
    "A detector with generated good images and a segmenter with made defects",
    real=both_systems,
    quick=lambda: tuple(quick_fusion(study, shots=12, **QUICK_GENERATOR) for study in both_systems()),
)
