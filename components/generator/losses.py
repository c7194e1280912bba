"""The losses of §4.2: L = L_mse + λ·L_vq (eq. 6, 7).

# B images in [−1, 1], (B, 3, H, W); T sampled images; latents (B, C, h, w)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.generator.vqgan import Quantised
from components.weights import load_efficientnet_lite0

PERCEPTUAL_LAYERS = ("blocks.1", "blocks.2")


def mse_loss(original: Tensor, samples: Tensor) -> Tensor:
    """Eq. 6: mean over the T samples (T, 3, H, W) of the per-pixel mean squared difference to I^o (3, H, W).

    The paper's n is undefined; the pixel mean is our choice and decides what λ means.
    """
    return F.mse_loss(samples, original.expand_as(samples))


def codebook_loss(latents: Tensor, quantised: Quantised, beta: float, legacy: bool = False) -> Tensor:
    """‖sg(z) − e‖² + β‖z − sg(e)‖², pixel means: β on the commitment term (the correct form).

    ``legacy``: β‖sg(z) − e‖² + ‖z − sg(e)‖², which the published code does by default.
    """
    pull_codes = F.mse_loss(quantised.codes, latents.detach())
    pull_latents = F.mse_loss(latents, quantised.codes.detach())
    return beta * pull_codes + pull_latents if legacy else pull_codes + beta * pull_latents


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
            wanted = self.features(target)
        total = reconstruction.new_zeros(())
        for got, want in zip(self.features(reconstruction), wanted, strict=True):
            difference = F.normalize(got, dim=1) - F.normalize(want, dim=1)
            total = total + difference.pow(2).sum(1).mean()
        return total
