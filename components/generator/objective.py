"""One training step's forward pass: views → latents → samples and reconstructions → the terms of eq. 7.

# O originals in the step, N views each, T samples in total, C latent channels, h × w latent positions
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from components.generator.config import GeneratorConfig
from components.generator.latent import LatentDistribution, latent_distribution
from components.generator.losses import PerceptualLoss, codebook_loss, mse_loss
from components.generator.vqgan import VQGAN


class Terms(NamedTuple):
    """The loss and its parts, scalars; ``total`` carries the gradient, the parts are detached."""

    total: Tensor
    mse: Tensor
    reconstruction: Tensor
    perceptual: Tensor
    codebook: Tensor


class VarianceAwareVQGAN(nn.Module):
    """The VQGAN together with its objective: what Accelerate prepares and the optimiser updates."""

    def __init__(self, config: GeneratorConfig, vq_weight: float) -> None:
        super().__init__()
        self.config = config
        self.vq_weight = vq_weight
        self.vqgan = VQGAN(config.vqgan, config.resolution)
        # In a tuple so that the frozen backbone is neither a parameter nor part of a checkpoint.
        self._perceptual = (PerceptualLoss(),) if config.perceptual == "lite0" else ()

    def forward(self, originals: Tensor, views: Tensor, noise: Tensor) -> Terms:
        """Eq. 7.

        Args:
            originals: (O, 3, H, W) in [−1, 1], the targets of eq. 6.
            views: (O, N, 3, H, W) in [−1, 1], their augmented views.
            noise: (T, C, h, w); sample t belongs to original t mod O.
        """
        flat = views.flatten(0, 1)
        latents = self.vqgan.encode(flat)
        quantised = self.vqgan.quantize(latents)
        sampled = self._sample(quantised.latents.unflatten(0, views.shape[:2]), noise)
        decoded = self.vqgan.decode(torch.cat([quantised.latents, sampled]))
        reconstructed, samples = decoded[: len(flat)], decoded[len(flat) :]
        targets = originals[torch.arange(len(noise)) % len(originals)]
        mse = mse_loss(targets, samples)
        reconstruction = (flat - reconstructed).abs().mean()
        perceptual = self._perceptual[0](reconstructed, flat) if self._perceptual else mse.new_zeros(())
        codebook = codebook_loss(latents, quantised, self.config.commitment)
        vq = reconstruction + self.config.perceptual_weight * perceptual + codebook
        parts = (mse, reconstruction, perceptual, codebook)
        return Terms(mse + self.vq_weight * vq, *(part.detach() for part in parts))

    def distribution(self, views: Tensor) -> LatentDistribution:
        """Eq. 3 for one original's views (N, 3, H, W) in [−1, 1]."""
        quantised = self.vqgan.quantize(self.vqgan.encode(views)).latents
        return latent_distribution(quantised, self.config.variance)

    def _sample(self, quantised: Tensor, noise: Tensor) -> Tensor:
        """Quantised maps (O, N, C, h, w) and noise (T, C, h, w) → sampled latents (T, C, h, w)."""
        per_original = [latent_distribution(maps, self.config.variance) for maps in quantised]
        drawn = [per_original[t % len(per_original)].sample(noise[t : t + 1]) for t in range(len(noise))]
        return torch.cat(drawn)
