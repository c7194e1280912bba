"""The embedded substitute for LPIPS: a distance of EfficientNet-Lite0's features, named ``lite0`` wherever it is used.

# B images in [−1, 1], (B, 3, H, W)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from goodshot.components.weights import load_efficientnet_lite0

PERCEPTUAL_LAYERS = ("blocks.1", "blocks.2")


class PerceptualLoss(nn.Module):
    """Distance between EfficientNet-Lite0 features: the embedded substitute for LPIPS-VGG, named ``lite0``.

    Features of two layers are normalised to unit length along channels; the loss is the mean squared difference
    over positions, summed over channels and layers (LPIPS's form without its learned weights).
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = load_efficientnet_lite0(PERCEPTUAL_LAYERS)

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Two batches (B, 3, H, W) in [−1, 1] (the backbone's own range) → a scalar ≥ 0."""
        with torch.no_grad():
            wanted = self.compared(target)
        total = reconstruction.new_zeros(())
        for got, want in zip(self.compared(reconstruction), wanted, strict=True):
            total = total + (got - want).pow(2).sum(1).mean()
        return total

    def compared(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [−1, 1] → the features (B, C, h, w) by layer, whose squared differences are summed."""
        return [F.normalize(features, dim=1) for features in self.features(images)]
