"""The layers of a pretrained network that a detector reads features of."""

from __future__ import annotations

from collections.abc import Sequence

from components.detectors.quiet import quiet_import
from components.errors import BadInput
from components.weights.timm_table import timm_entry


def check_layers(backbone: str, layers: Sequence[str]) -> None:
    """Raises `BadInput` for a layer that the timm network does not have, or layers that do not go deeper.

    anomalib would drop the one with a warning and pair the others with the wrong features.
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
