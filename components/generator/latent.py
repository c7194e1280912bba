"""The latent distribution of the variance-aware generator (§4.1.2, eq. 3).

# N augmented views of one original, C latent channels, h × w latent positions, M samples
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import torch
from torch import Tensor

from components.generator.config import Variance

# √Σ has an infinite slope at 0, and Σ is exactly 0 wherever all views choose one codebook entry.
VARIANCE_FLOOR = 1e-8


class LatentDistribution(NamedTuple):
    """Mean E_d and standard deviation √Σ_d per latent position and channel, each (C, h, w)."""

    mean: Tensor
    std: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Noise (M, C, h, w) ~ N(0, 1) → latents E + √Σ·ε (M, C, h, w)."""
        return self.mean + self.std * noise


def latent_distribution(quantised: Tensor, variance: Variance) -> LatentDistribution:
    """Eq. 3 from the quantised maps (N, C, h, w) of one original's N views.

    ``estimated``: the biased variance over the views. ``unit``: σ = 1, the paper's description of the existing
    VQGAN. ``none``: σ = 0, what VQGAN code does. Gradients reach the encoder through mean and variance.
    """
    mean = quantised.mean(0)
    if variance == "estimated":
        return LatentDistribution(mean, (quantised.var(0, unbiased=False) + VARIANCE_FLOOR).sqrt())
    std = torch.ones_like(mean) if variance == "unit" else torch.zeros_like(mean)
    return LatentDistribution(mean, std)


def sample_noise(shape: torch.Size | tuple[int, ...], seed: int, iteration: int, samples: range) -> Tensor:
    """ε of the samples m in ``samples`` at iteration l, (len(samples), *shape), drawn on the CPU.

    Each sample is a function of (seed, l, m) alone: more copies or more iterations never change earlier ones.
    """
    draws = []
    for m in samples:
        digest = hashlib.sha256(f"noise/{seed}/{iteration}/{m}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
        draws.append(torch.randn(tuple(shape), generator=generator))
    return torch.stack(draws)
