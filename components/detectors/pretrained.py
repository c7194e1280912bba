"""The file that a detector's pretrained weights come from: found on this machine, or named as missing at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from components.detectors.models import find_model
from components.detectors.presets import ANOMALY_DINO, EFFICIENT_AD, PATCHCORE, WINCLIP
from components.errors import MissingWeights

if TYPE_CHECKING:
    from components.detectors.config import DetectorConfig

# What anomalib's WinCLIP names in its own source; a test holds the two equal.
WINCLIP_WEIGHTS = "open_clip:ViT-B-16-plus-240:laion400m_e31"


def weight_file(config: DetectorConfig) -> Path | None:
    """The file of a detector that is not on the embedded backbone; None for a model that hides where it looks.

    Raises `MissingWeights`, which says what is missing and where it was looked for, after no more than imports.
    """
    if config.name == WINCLIP:
        from components.encoders.catalogue import parse

        return parse(WINCLIP_WEIGHTS).weights()
    if config.name == EFFICIENT_AD:
        return _teacher(config)
    if config.name == ANOMALY_DINO:
        network = config.args.get("encoder_name") or find_model(ANOMALY_DINO).defaults["encoder_name"]
    elif config.name == PATCHCORE or "layers" in find_model(config.name).arguments:
        network = config.backbone
    else:  # the backbone's name may be no name of timm's
        return None
    from components.detectors.backbones import timm_weights

    return timm_weights(str(network))


def _teacher(config: DetectorConfig) -> Path:
    """EfficientAD's teacher where anomalib keeps it, in the user's cache."""
    import platformdirs

    size = str(config.args.get("model_size", "small"))
    cache = platformdirs.user_cache_path("anomalib") / "pre_trained"
    path = cache / "efficientad_pretrained_weights" / f"pretrained_teacher_{size}.pth"
    if not path.is_file():
        raise MissingWeights(
            f"detector {config.label}: no teacher {path}; unpack anomalib's efficientad_pretrained_weights there, "
            "or take backbone: efficientnet_lite0"
        )
    return path
