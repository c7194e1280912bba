"""The frozen network that makes PatchCore's patch features, and the smoothing of its maps (Roth et al. 2022).

The steps are those of anomalib's PatchCore, to which tests compare them. Its own model is not imported, because that
imports all models of anomalib with Lightning and torchmetrics, and so doubles the start of every process that scores.

Legend: C feature channels, h × w the size of the first layer's features, P patches, M patches in the memory bank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from goodshot.components.detectors.quiet import quiet_import

SIGMA = 4
"""Standard deviation of the smoothing, in pixels of the anomaly map."""
RADIUS = int(4.0 * SIGMA + 0.5)
"""The smoothing's weights reach so many pixels to each side."""


class PatchNetwork(nn.Module):
    """Layers of a timm network, and a memory bank (M, C) of patch features.

    A vision transformer's layers are read by anomalib, whose module is imported for it.

    Args:
        backbone: the network's name in timm.
        layers: names of its layers, shallow to deep.
        is_pretrained: whether timm loads the network's pretrained weights.
    """

    memory_bank: Tensor
    kernel: Tensor

    def __init__(self, backbone: str, layers: Sequence[str], is_pretrained: bool) -> None:
        super().__init__()
        self.layers = list(layers)
        with quiet_import():
            is_transformer = "vit" in backbone.lower()
            self.feature_extractor: Any = (_transformer if is_transformer else _Layers)(backbone, layers, is_pretrained)
        self.pooling = nn.AvgPool2d(3, 1, 1)
        self.register_buffer("memory_bank", torch.empty(0))
        self.register_buffer("kernel", gaussian())

    def features(self, pixels: Tensor) -> Tensor:
        """The features (B, C, h, w) of images (B, 3, H, W): all layers, averaged over 3 × 3 patches, at one size."""
        found: Mapping[str, Tensor] = self.feature_extractor(pixels)
        first, *deeper = (self.pooling(found[layer]) for layer in self.layers)
        resized = (F.interpolate(layer, size=first.shape[-2:], mode="bilinear") for layer in deeper)
        return torch.cat([first, *resized], 1)

    @staticmethod
    def patches(features: Tensor) -> Tensor:
        """Features (B, C, h, w) as one row for each patch (B·h·w, C)."""
        return features.permute(0, 2, 3, 1).reshape(-1, features.size(1))

    def distances(self, patches: Tensor) -> Tensor:
        """The distance (P, M) of each patch (P, C) to each patch of the memory bank."""
        return _distances(patches, self.memory_bank)

    def weighted(self, patch: Tensor, distance: Tensor, neighbours: int) -> Tensor:
        """The distance (1,) of an image's farthest patch (1, C), weighted by how isolated its neighbour is (eq. 7).

        ``neighbours`` patches around the nearest patch of the bank decide the weight.
        """
        nearest = self.distances(patch).min(1).indices
        around = self.distances(self.memory_bank[nearest])
        support = around.topk(k=min(neighbours, len(self.memory_bank)), largest=False, dim=1).indices
        to_support = _distances(patch[:, None], self.memory_bank[support]).squeeze(1)
        return (1 - F.softmax(to_support, 1))[..., 0] * distance


class _Layers(nn.Module):
    """Some layers of a convolutional network of timm, by their names."""

    def __init__(self, backbone: str, layers: Sequence[str], is_pretrained: bool) -> None:
        super().__init__()
        import timm

        self.layers = list(layers)
        # Random weights are drawn after those of another network, as anomalib draws them.
        with torch.device("meta" if is_pretrained else "cpu"):
            whole = timm.create_model(backbone, pretrained=False, features_only=True)
        known = [info["module"] for info in whole.feature_info.info]
        self.feature_extractor = timm.create_model(
            backbone,
            pretrained=is_pretrained,
            pretrained_cfg=None,
            features_only=True,
            exportable=True,
            out_indices=[known.index(layer) for layer in layers],
        ).eval()

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.layers, self.feature_extractor(pixels), strict=True))


def _transformer(backbone: str, layers: Sequence[str], is_pretrained: bool) -> Any:
    from anomalib.models.components import TimmFeatureExtractor

    return TimmFeatureExtractor(backbone=backbone, layers=layers, pre_trained=is_pretrained).eval()


def gaussian() -> Tensor:
    """The smoothing's weights (2·RADIUS + 1,) along one side of a map."""
    offsets = torch.arange(2 * RADIUS + 1, dtype=torch.float32) - RADIUS
    line = torch.exp(-offsets.pow(2.0) / (2 * torch.tensor(float(SIGMA)).pow(2.0)))
    line = line / line.sum()
    square = line[:, None] * line
    # Normalised twice, as anomalib's square of weights is, whose sum over one side this is.
    return (square / square.abs().sum(-1).sum(-1)).sum(0)


def _distances(ours: Tensor, theirs: Tensor) -> Tensor:
    """Euclidean distances (…, P, M) of rows (…, P, C) to rows (…, M, C)."""
    squares = torch.matmul(ours, theirs.transpose(-2, -1)).mul_(-2)
    squares.add_(ours.pow(2).sum(-1, keepdim=True))
    squares.add_(theirs.pow(2).sum(-1, keepdim=True).transpose(-2, -1))
    return squares.clamp_min_(0).sqrt_()
