"""The registry of detector families: all detectors with rules beyond anomalib's source, one object each, in one tuple.

A detector with rules of its own has a file here; a model of anomalib with only small differences is
a row of the tuple. To add a detector, add its object to `FAMILIES`: no other code compares names. Nothing in this
folder imports torch or anomalib before a detector is built, because a light driver reads configurations.
"""

from goodshot.components.detectors.families.anomalib_family import AnomalibFamily
from goodshot.components.detectors.families.anomaly_dino import ANOMALY_DINO
from goodshot.components.detectors.families.cflow import CFLOW
from goodshot.components.detectors.families.efficient_ad import EFFICIENT_AD
from goodshot.components.detectors.families.family import Family
from goodshot.components.detectors.families.foundad import FOUNDAD
from goodshot.components.detectors.families.patchcore import PATCHCORE
from goodshot.components.detectors.families.reverse_distillation import REVERSE_DISTILLATION
from goodshot.components.detectors.families.winclip import WINCLIP
from goodshot.components.detectors.models import find_model, plain
from goodshot.components.detectors.natural import NaturalImages
from goodshot.components.weights.registry import DSR, DTD, TORCHVISION

__all__ = ["FAMILIES", "PATCHCORE", "Family", "family_of"]

FAMILIES: tuple[Family, ...] = (
    PATCHCORE,
    CFLOW,
    REVERSE_DISTILLATION,
    EFFICIENT_AD,
    WINCLIP,
    ANOMALY_DINO,
    FOUNDAD,
    AnomalibFamily("cfa", publisher=TORCHVISION),
    AnomalibFamily("csflow", fixed=("torchvision:efficientnet_b5",)),
    AnomalibFamily("dinomaly", network_argument="encoder_name"),
    AnomalibFamily("draem", natural=NaturalImages("dtd_dir", default=DTD)),
    AnomalibFamily("dsr", fixed=(DSR,)),
    AnomalibFamily("ganomaly", fixed=()),
    AnomalibFamily("glass", natural=NaturalImages("anomaly_source_path")),
    AnomalibFamily("inp_former", network_argument="encoder_name"),
    AnomalibFamily("l2bt", fixed=("timm:vit_base_patch14_reg4_dinov2",)),
    AnomalibFamily("uflow", named={"mcait": ("timm:cait_m48_448", "timm:cait_s24_224")}),
    AnomalibFamily("uninet", network_argument="teacher_backbone", publisher=TORCHVISION),
    AnomalibFamily("anomalyvfm", unusable="it cannot be trained, and gives masks without scores"),
    AnomalibFamily("cfm", unusable="it needs point clouds besides images"),
    AnomalibFamily("vlm_ad", unusable="it queries a language model and gives no scores"),
)


def family_of(name: str) -> Family:
    """The family that a detector's name belongs to; case and underscores do not matter.

    A name without a family in `FAMILIES` is looked up among anomalib's models. Raises `BadInput` with the
    nearest names if there is none.
    """
    wanted = plain(name)
    for family in FAMILIES:
        if plain(family.name) == wanted:
            return family
    return AnomalibFamily(find_model(name).name)
