"""The embedded backbone, and checks of the layers that a detector reads from it or from another backbone."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from goodshot.components.detectors.quiet import quiet_import
from goodshot.components.errors import BadInput
from goodshot.components.weights.timm_table import timm_entry

EMBEDDED_BACKBONE = "efficientnet_lite0"
EMBEDDED_TIMM = f"tf_{EMBEDDED_BACKBONE}"
"""The embedded backbone's name in timm."""
CAUTION = (
    "Detectors read EfficientNet-Lite0's features, the embedded substitute for the published backbones, such as the "
    "paper's wide ResNet-50: their numbers are not comparable with published ones."
)
# The stages of EfficientNet-Lite0 whose outputs are available, shallow to deep (strides 2, 4, 8, 16, 32).
LITE0_LAYERS = ("blocks.0", "blocks.1", "blocks.2", "blocks.4", "blocks.6")


def backbone_caution(backbones: Collection[str]) -> str:
    """The caution for readers of numbers on these backbones; empty if there is none."""
    return CAUTION if EMBEDDED_BACKBONE in backbones else ""


def check_lite0_layers(layers: Sequence[str] | None) -> None:
    """Check layers of the embedded backbone as `check_layers` does, without importing anything."""
    given = [*(layers or ())]
    if not given or given != [layer for layer in LITE0_LAYERS if layer in given]:
        raise BadInput(f"layers {given} must be some of {list(LITE0_LAYERS)}, each once, in this order")


def check_layers(backbone: str, layers: Sequence[str]) -> None:
    """Raises `BadInput` for a layer that the timm network does not have, or layers that are not in order of depth.

    anomalib would drop a missing layer with a warning and pair the others with the wrong features.
    """
    with quiet_import():
        import timm
        import torch
    timm_entry(backbone)
    if "vit" in backbone:  # blocks.N, which anomalib checks itself
        return
    with torch.device("meta"):
        network = timm.create_model(backbone, pretrained=False, features_only=True)
    known = [info["module"] for info in network.feature_info.info]
    if not layers or list(layers) != [layer for layer in known if layer in layers]:
        raise BadInput(f"layers {[*layers]} of {backbone} must be some of {known}, each once, in this order")
