"""Which pretrained weights a detector needs, those that anomalib's models load themselves included.

Found on this machine, or named as missing at once: anomalib would try to download them, some without a timeout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.detectors.models import find_model
from components.detectors.presets import EFFICIENT_AD, EMBEDDED_BACKBONE, PATCHCORE, WINCLIP
from components.errors import BadInput
from components.weights import require, resolve
from components.weights.registry import DSR, DTD, IMAGENETTE, TEACHER

if TYPE_CHECKING:
    from components.detectors.config import DetectorConfig

# What anomalib's models name in their own source; a test holds these equal.
WINCLIP_WEIGHTS = "open_clip:ViT-B-16-plus-240:laion400m_e31"
ALWAYS: dict[str, tuple[str, ...]] = {
    WINCLIP: (WINCLIP_WEIGHTS,),
    "csflow": ("torchvision:efficientnet_b5",),
    "dsr": (DSR,),
    "ganomaly": (),
    "l2bt": ("timm:vit_base_patch14_reg4_dinov2",),
}
"""Models whose networks cannot be chosen."""
ENCODER_ARGUMENT = {"anomaly_dino": "encoder_name", "dinomaly": "encoder_name", "inp_former": "encoder_name"}
"""Models that call their backbone otherwise; it is a name of timm's."""
FOUNDAD = {
    f"{family}_vit_{size}_{patch}": f"vit_{size}_patch{patch}_{family}.{tag}"
    for family, patch, tag in (("dinov2", 14, "lvd142m"), ("dinov3", 16, "lvd1689m"))
    for size in ("small", "base", "large")
}
NATURAL_IMAGES = {EFFICIENT_AD: "imagenet_dir", "draem": "dtd_dir", "glass": "anomaly_source_path"}
"""Models that learn from photographs of anything, and their argument for the folder of these."""
UFLOW = ("timm:cait_m48_448", "timm:cait_s24_224")
UNUSABLE = {
    "anomalyvfm": "it cannot be trained, and gives masks without scores",
    "cfm": "it needs point clouds besides images",
    "vlm_ad": "it asks a language model and gives no scores",
}
"""Models of anomalib that are not judged here, and why."""


def weight_names(config: DetectorConfig) -> tuple[str, ...]:
    """The registry's names of what a detector loads; none where its weights are random.

    Raises `BadInput` for a model that cannot be used, or an argument that names no network of its kind.
    """
    name = config.name if config.name == PATCHCORE else find_model(config.name).name
    if name in UNUSABLE:
        raise BadInput(f"detector {name}: {UNUSABLE[name]}; choose another model")
    photographs = _photographs(config, name)
    if config.weights == "random":
        return photographs
    if config.uses_backbone() == EMBEDDED_BACKBONE:
        return (EMBEDDED_BACKBONE, *photographs)
    return (*_networks(config, name), *photographs)


def _networks(config: DetectorConfig, name: str) -> tuple[str, ...]:
    if name == EFFICIENT_AD:
        return (f"{TEACHER}{config.args.get('model_size', 'small')}",)
    if name in ALWAYS:
        return ALWAYS[name]
    argument = ENCODER_ARGUMENT.get(name)
    if argument is not None:
        return (f"timm:{_argument(config, argument)}",)
    if name == "foundad":
        chosen = _argument(config, "encoder_name")
        if chosen not in FOUNDAD:
            raise BadInput(f"detector foundad: encoder_name {chosen!r} is none of {', '.join(FOUNDAD)}")
        return (f"timm:{FOUNDAD[chosen]}",)
    if name == "uninet":
        return (f"torchvision:{_argument(config, 'teacher_backbone')}",)
    if name == "cfa":
        return (f"torchvision:{config.backbone}",)
    if name == "uflow" and config.backbone == "mcait":
        return UFLOW
    return (f"timm:{config.backbone}",) if config.backbone is not None else ()


def _argument(config: DetectorConfig, name: str) -> str:
    return str(config.args.get(name) or find_model(config.name).defaults[name])


def _photographs(config: DetectorConfig, name: str) -> tuple[str, ...]:
    """What a model learns from besides the good images, where it is not a folder of the user's."""
    argument = NATURAL_IMAGES.get(name)
    chosen = config.args.get(argument, DTD if name == "draem" else None) if argument else None
    return (str(chosen),) if chosen in (IMAGENETTE, DTD) else ()


def check_weights(config: DetectorConfig) -> None:
    """Raise `MissingWeights`, naming it and its remedy, for the first thing that a detector lacks on this machine."""
    for name in weight_names(config):
        require(name, f"detector {config.label}")


def weights_identity(config: DetectorConfig) -> dict[str, str]:
    """The SHA-256 of each weight file that a detector loads, by what a fingerprint calls it.

    Raises `MissingWeights` as `check_weights`.
    """
    found = {}
    for name in weight_names(config):
        if name in (IMAGENETTE, DTD):
            continue  # known by their files: natural_identity
        found[name] = resolve(name, f"detector {config.label}").sha256
    if len(found) == 1:
        return {"backbone_sha256": next(iter(found.values()))}
    return {f"{name}_sha256": digest for name, digest in found.items()}
