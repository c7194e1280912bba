"""One training step's forward pass: views → latents → samples and reconstructions → the terms of eq. 7.

# O originals, N views each, T samples, B = O·N views, C latent channels, h × w latent positions, K codes
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from goodshot.components.generator.batch import Batch
from goodshot.components.generator.config import GeneratorConfig
from goodshot.components.generator.discriminator import PatchDiscriminator, adaptive_weight, generator_hinge
from goodshot.components.generator.latent import LatentDistribution, latent_distribution
from goodshot.components.generator.losses import codebook_loss, mse_loss
from goodshot.components.generator.vqgan import VQGAN


class Terms(NamedTuple):
    """The loss and its parts, scalars; ``total`` has the gradient, all others are detached.

    Every scalar is weighted by the batch's share of its step, so a step's terms are the sums over its parts.
    """

    total: Tensor
    mse: Tensor
    reconstruction: Tensor
    perceptual: Tensor
    codebook: Tensor
    adversarial: Tensor
    """−mean D(x̂); 0 without a discriminator."""
    adaptive: Tensor
    """The adversarial term's weight: ``discriminator.weight`` times the adaptive weight."""
    used: Tensor
    """(K,) bool: codebook entries that any view uses."""
    reconstructed: Tensor
    """(B, 3, H, W), about [−1, 1]."""


class VarianceAwareVQGAN(nn.Module):
    """The VQGAN together with its objective: the module that Accelerate prepares and the optimiser updates.

    Args:
        perceptual: (reconstruction, target) → a scalar; None: no perceptual term.
        head: E → Σ, for ``variance: predicted``. It fits the latents of the start weights, so that only the decoder
        is trained then.
    """

    def __init__(
        self,
        config: GeneratorConfig,
        vq_weight: float,
        perceptual: nn.Module | None = None,
        head: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.vq_weight = vq_weight
        self.vqgan = VQGAN(config.vqgan, config.resolution)
        # In a tuple, so that the frozen backbone is neither a parameter nor part of a checkpoint.
        self._perceptual = () if perceptual is None else (perceptual,)
        self._head = () if head is None else (head,)
        if config.variance == "predicted":
            for part in (self.vqgan.encoder, self.vqgan.quant_conv, self.vqgan.quantize):
                part.requires_grad_(False)

    def forward(self, batch: Batch, discriminator: PatchDiscriminator | None = None) -> Terms:
        """Eq. 7 of one batch, with the adversarial term if there is a discriminator (whose weights get no gradient)."""
        flat = batch.views.flatten(0, 1)
        with self.mixed_precision(flat.device):
            latents = self.vqgan.encode(flat).float()
            quantised = self.vqgan.quantize(latents)
            sampled = self._sample(quantised.latents.unflatten(0, batch.views.shape[:2]), batch)
            decoded = self.vqgan.decode(torch.cat([quantised.latents, sampled])).float()
        reconstructed, samples = decoded[: len(flat)], decoded[len(flat) :]
        # A part without a sample has no term of eq. 6, and the mean of an empty tensor is NaN.
        mse = mse_loss(batch.originals[list(batch.owners)], samples) if len(samples) else flat.new_zeros(())
        reconstruction = (flat - reconstructed).abs().mean()
        perceptual = self._perceptual[0](reconstructed, flat) if self._perceptual else mse.new_zeros(())
        nll = reconstruction + self.config.perceptual_weight * perceptual
        codebook = codebook_loss(latents, quantised, self.config.commitment, self.config.legacy_beta)
        adversarial, adaptive = self._adversarial(nll, reconstructed, discriminator)
        vq = nll + codebook if discriminator is None else nll + codebook + adaptive * adversarial
        total = batch.mse_share * mse + self.vq_weight * (batch.vq_share * vq)
        used = torch.zeros(self.config.vqgan.codebook_size, dtype=torch.bool, device=flat.device)
        used[quantised.indices.flatten()] = True
        return Terms(
            total=total,
            mse=batch.mse_share * mse.detach(),
            reconstruction=batch.vq_share * reconstruction.detach(),
            perceptual=batch.vq_share * perceptual.detach(),
            codebook=batch.vq_share * codebook.detach(),
            adversarial=batch.vq_share * adversarial.detach(),
            adaptive=batch.vq_share * adaptive,
            used=used,
            reconstructed=reconstructed.detach(),
        )

    def distribution(self, views: Tensor) -> LatentDistribution:
        """Eq. 3 for one original's views (N, 3, H, W) in [−1, 1]."""
        return self.distribution_of(self.codes(views))

    def codes(self, views: Tensor) -> Tensor:
        """The quantised maps (N, C, h, w) of views (N, 3, H, W) in [−1, 1]."""
        with self.mixed_precision(views.device):
            latents: Tensor = self.vqgan.quantize(self.vqgan.encode(views)).latents
        return latents

    def distribution_of(self, quantised: Tensor) -> LatentDistribution:
        """Eq. 3 for one original's quantised maps (N, C, h, w)."""
        return latent_distribution(quantised, self.config.variance, self._head[0] if self._head else None)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) → images (B, 3, H, W), about [−1, 1], in the training's precision, as fp32."""
        with self.mixed_precision(latents.device):
            return self.vqgan.decode(latents).float()

    def mixed_precision(self, device: torch.device) -> torch.autocast:
        """bf16 for convolutions and matrix products, if the configuration asks for it.

        Accelerate's own mixed precision is set once per process, which may hold generators of both precisions.
        """
        return torch.autocast(device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def _adversarial(
        self, nll: Tensor, reconstructed: Tensor, discriminator: PatchDiscriminator | None
    ) -> tuple[Tensor, Tensor]:
        """The hinge term and its weight. Without a graph (when only the loss is needed) the weight is 0."""
        zero = nll.new_zeros(())
        if discriminator is None:
            return zero, zero
        adversarial = generator_hinge(discriminator(reconstructed))
        if not adversarial.requires_grad:
            return adversarial, zero
        last_layer = self.vqgan.decoder.conv_out.weight
        return adversarial, self.config.discriminator.weight * adaptive_weight(nll, adversarial, last_layer)

    def _sample(self, quantised: Tensor, batch: Batch) -> Tensor:
        """Quantised maps (O, N, C, h, w) → sampled latents (T, C, h, w)."""
        per_original = [self.distribution_of(maps) for maps in quantised]
        drawn = [per_original[owner].sample(batch.noise[t : t + 1]) for t, owner in enumerate(batch.owners)]
        return torch.cat([quantised.new_zeros((0, *quantised.shape[2:])), *drawn])
