"""The latent distribution of the variance-aware generator (§4.1.2, eq. 3).

# N augmented views of one original, C latent channels, h × w latent positions, M samples
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from goodshot.components.errors import BadInput
from goodshot.components.generator.config import Variance

# √Σ has an infinite slope at 0, and Σ is exactly 0 wherever all views choose the same codebook entry.
VARIANCE_FLOOR = 1e-8


class LatentDistribution(NamedTuple):
    """Mean E_d and standard deviation √Σ_d per latent position and channel, each (C, h, w)."""

    mean: Tensor
    std: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Noise (M, C, h, w) ~ N(0, 1) → latents E + √Σ·ε (M, C, h, w)."""
        return self.mean + self.std * noise


class Latents(NamedTuple):
    """Sampled latents with what they were sampled from, of the K originals that have a sample."""

    samples: Tensor
    """z, (M, C, h, w); sample m belongs to original m mod K."""
    variance: Tensor
    """Σ, (K, C, h, w)."""
    codes: Tensor
    """The quantised maps of the views, (K, N, C, h, w)."""


def latent_distribution(
    quantised: Tensor, variance: Variance, predict: Callable[[Tensor], Tensor] | None = None
) -> LatentDistribution:
    """Eq. 3 from the quantised maps (N, C, h, w) of one original's N views.

    ``estimated``: the biased variance over the views. ``unit``: σ = 1, the paper's description of the existing
    VQGAN. ``none``: σ = 0, what VQGAN code does. ``predicted``: Σ is ``predict`` of E (1, C, h, w).
    Gradients reach the encoder through mean and variance.
    """
    mean = quantised.mean(0)
    if variance == "estimated":
        return LatentDistribution(mean, (quantised.var(0, unbiased=False) + VARIANCE_FLOOR).sqrt())
    if variance == "predicted":
        if predict is None:
            raise BadInput("generator.variance = predicted: give the generator a variance head")
        return LatentDistribution(mean, predict(mean.detach()[None])[0].sqrt())
    std = torch.ones_like(mean) if variance == "unit" else torch.zeros_like(mean)
    return LatentDistribution(mean, std)


def sample_noise(
    shape: torch.Size | tuple[int, ...], seed: int, iteration: int, samples: range, correlation: float = 0.0
) -> Tensor:
    """ε of the samples m in ``samples`` at iteration l, (len(samples), *shape), drawn on the CPU.

    Each sample is a function of (seed, l, m) only: more copies or more iterations never change earlier samples.

    Args:
        shape: (C, h, w).
        correlation: standard deviation, in latent positions, of the Gaussian that white noise is smoothed by; 0: none
            (the paper's). Every value is still N(0, 1), but neighbours vary together.
    """
    reach = math.ceil(3 * correlation)
    channels, height, width = shape
    padded = (channels, height + 2 * reach, width + 2 * reach)
    draws = []
    for m in samples:
        digest = hashlib.sha256(f"noise/{seed}/{iteration}/{m}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
        draws.append(torch.randn(padded, generator=generator))
    noise = torch.stack(draws)
    return _smoothed(noise, correlation, reach) if reach else noise


def _smoothed(noise: Tensor, correlation: float, reach: int) -> Tensor:
    """White noise (M, C, h + 2r, w + 2r) under a Gaussian of unit energy, (M, C, h, w): still N(0, 1) everywhere."""
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / correlation) ** 2)
    kernel = (kernel / kernel.norm())[None, None]
    flat = noise.flatten(0, 1)[:, None]
    smooth = F.conv2d(F.conv2d(flat, kernel[..., None]), kernel[:, :, None])
    return smooth.view(*noise.shape[:2], *smooth.shape[2:])
