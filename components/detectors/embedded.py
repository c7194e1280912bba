"""anomalib's models on the embedded backbone, and the loading of its weights.

Two models are built for one kind of network and get an adapter; the result is not the published model, and
its label names the backbone. Shape letters: B batch, C channels, S the side of the input.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from goodshot.components.detectors.backbones import EMBEDDED_TIMM
from goodshot.components.detectors.preprocess import LITE0, normalised
from goodshot.components.errors import BadInput

_RESNET18_WIDTHS = (64, 128, 256)
_PDN_STRIDE, _PDN_MARGIN = 4, 4


class SignSplit(nn.Module):
    """EfficientNet-Lite0's features in the form that Reverse Distillation's ResNet-18 decoder can produce.

    That decoder ends in ReLUs and in 64, 128 and 256 channels at strides 4, 8 and 16. Lite0's blocks end linearly, in
    24, 40 and 112: their positive and negative parts go into separate channels, the remaining channels are zero. No
    information is lost, and equal features still have a cosine of 1.
    """

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, S, S) → {layer: (B, 64 | 128 | 256, S / 4 | S / 8 | S / 16, …)}, not negative."""
        found = self.features(images)
        return {
            layer: _padded(torch.cat([f.clamp(min=0), (-f).clamp(min=0)], dim=1), width)
            for (layer, f), width in zip(found.items(), _RESNET18_WIDTHS, strict=True)
        }


class Lite0Teacher(nn.Module):
    """EfficientNet-Lite0's features in place of EfficientAD's own teacher (a patch description network, PDN).

    The PDN has stride 4 and no padding: its (S / 4 − 8)² outputs cover the centre of the image. The layers' features
    are therefore resampled to stride 4 and cropped.
    """

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] → (B, C, S / 4 − 8, S / 4 − 8), C the sum of the layers' channels.

        One image (3, S, S) is taken as a batch of one, as by the PDN.
        """
        images = images.reshape(-1, *images.shape[-3:])
        side = -(-images.shape[-1] // _PDN_STRIDE)
        found = self.features(normalised(images, LITE0)).values()
        stacked = torch.cat([F.interpolate(f, (side, side), mode="bilinear") for f in found], dim=1)
        return stacked[..., _PDN_MARGIN:-_PDN_MARGIN, _PDN_MARGIN:-_PDN_MARGIN]


def feature_extractor(layers: tuple[str, ...]) -> Any:
    """anomalib's feature extractor over the embedded backbone, before its weights are loaded."""
    from anomalib.models.components.feature_extractors import TimmFeatureExtractor

    return TimmFeatureExtractor(EMBEDDED_TIMM, layers, pre_trained=False)


def load_weights(network: nn.Module, label: str) -> None:
    """Load the embedded weights, strictly, into every part of the network that is the embedded backbone.

    Raises `BadInput` if there is no such part, and as `weights.resolve` does.
    """
    from goodshot.components.weights import efficientnet_lite0_state_dict

    weights, loaded = efficientnet_lite0_state_dict(), 0
    for part in network.modules():
        wanted = part.state_dict().keys()
        if "conv_stem.weight" in wanted and wanted <= weights.keys():
            part.load_state_dict({key: weights[key] for key in wanted}, strict=True)
            loaded += 1
    if not loaded:
        raise BadInput(f"detector {label}: holds no network that takes the embedded backbone's weights")


def _padded(features: Tensor, width: int) -> Tensor:
    return F.pad(features, (0, 0, 0, 0, 0, width - features.shape[1]))
