"""The comparator VQGAN-CLIP (Table 1): a VQGAN's latent, optimised until its image matches a text.

Crowson et al., "VQGAN-CLIP: Open Domain Image Generation and Editing with Natural Language Guidance", ECCV 2022,
https://arxiv.org/abs/2204.08583. The photograph has an effect only through the network that was trained on it. All
randomness is a function of (seed, m, step), so image m does not depend on the number of images.

# R image side, C latent channels, h × w latent positions, n cutouts, d embedding size
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from goodshot.components.encoders.base import Encoder
from goodshot.components.errors import GoodshotError
from goodshot.components.generator.augment import to_uint8
from goodshot.components.generator.vqgan import VQGAN
from goodshot.components.generator.vqgan_clip_config import VQGANClipConfig
from goodshot.components.heartbeat import beat

CUT = (0.5, 1.0)
"""Side of a cutout relative to the image's."""
TURN = math.radians(15)
GAIN = 0.1
NOISE = 0.1
"""A cutout's colour gain lies within ± GAIN of 1; its noise has a deviation drawn from [0, NOISE]."""


class Optimised(NamedTuple):
    """One image uint8 RGB (R, R, 3), and the loss of each step, float32 (iterations,)."""

    image: np.ndarray
    losses: np.ndarray


def optimise(
    vqgan: VQGAN, encoder: Encoder, text: np.ndarray, config: VQGANClipConfig, side: int, seed: int, m: int
) -> Optimised:
    """Make image m for a text.

    Start at random codebook entries; at each step quantise the latent (straight-through), decode it, embed its
    cutouts, and take a step of Adam down their mean spherical distance to the text; then keep the latent within the
    codebook's range. The network's weights stay as they are.

    Args:
        text: z_t, the prompt's unit embedding (d,).
        side: h = w, latent positions along a side at the resolution that the network was trained at.

    Raises:
        GoodshotError: the loss is not finite.
    """
    codebook = vqgan.quantize.embedding.weight.detach()
    lowest, highest = (bound(dim=0).values.view(1, -1, 1, 1) for bound in (codebook.min, codebook.max))
    target = torch.from_numpy(text).to(codebook)
    latent = _start(codebook, side, seed, m).requires_grad_()
    adam = torch.optim.Adam([latent], lr=config.learning_rate)
    losses = []
    for step in range(config.iterations):
        beat()
        views = cutouts(_decode(vqgan, latent), config.cutouts, _rng(seed, m, 1 + step))
        loss = spherical_distance(encoder.embed_with_gradient(views).to(target), target).mean()
        if not torch.isfinite(loss):
            raise GoodshotError(f"vqgan_clip: the loss became {float(loss)} at step {step}; lower its learning_rate")
        # The gradient of the latent only: the network is shared and collects no gradient.
        (latent.grad,) = torch.autograd.grad(loss, [latent])
        adam.step()
        with torch.no_grad():
            latent.clamp_(lowest, highest)
        losses.append(loss.item())
    with torch.no_grad():
        return Optimised(to_uint8(_decode(vqgan, latent))[0], np.array(losses, np.float32))


def spherical_distance(a: Tensor, b: Tensor) -> Tensor:
    """2·arcsin(‖a − b‖ / 2)²: half the squared angle between unit vectors (…, d), in [0, π²/2]."""
    # At 0 and at π one of the two functions has an infinite slope.
    half = (a - b).norm(dim=-1).div(2).clamp(1e-6, 1 - 1e-6)
    distance: Tensor = 2 * half.arcsin().pow(2)
    return distance


def cutouts(image: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """``count`` augmented cutouts of one image (1, 3, R, R) in [0, 1], each (3, R, R) in [0, 1].

    Squares of half to the whole side, anywhere in the image, slightly rotated, mirrored or not, with a gain for each
    channel and noise; differentiable in the image.
    """
    size = rng.uniform(*CUT, count)
    angle = rng.uniform(-TURN, TURN, count)
    mirror = rng.choice([-1.0, 1.0], count)
    centre = rng.uniform(-1, 1, (2, count)) * (1 - size)
    cos, sin = size * np.cos(angle), size * np.sin(angle)
    theta = np.stack([np.stack([cos * mirror, -sin, centre[0]], 1), np.stack([sin * mirror, cos, centre[1]], 1)], 1)
    gain = rng.uniform(1 - GAIN, 1 + GAIN, (count, 3, 1, 1))
    noise = rng.uniform(0, NOISE, (count, 1, 1, 1)) * rng.standard_normal((count, *image.shape[1:]))
    batch = image.expand(count, *image.shape[1:])
    grid = F.affine_grid(torch.from_numpy(theta).to(image), list(batch.shape), align_corners=False)
    views = F.grid_sample(batch, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return _within(views * torch.from_numpy(gain).to(image) + torch.from_numpy(noise).to(image))


def _decode(vqgan: VQGAN, latent: Tensor) -> Tensor:
    """Latent (1, C, h, w), quantised straight-through → image (1, 3, R, R) in [0, 1]."""
    return _within(vqgan.decode(vqgan.quantize(latent).latents) / 2 + 0.5)


def _within(images: Tensor) -> Tensor:
    """Clamp to [0, 1]; the gradient passes as if not clamped, so that a saturated pixel can change back."""
    # The added term is 0 in the forward pass, so the result lies exactly within the range.
    return images.detach().clamp(0, 1) + (images - images.detach())


def _start(codebook: Tensor, side: int, seed: int, m: int) -> Tensor:
    """Random codebook entries at every position, (1, C, side, side)."""
    indices = torch.from_numpy(_rng(seed, m, 0).integers(len(codebook), size=side**2))
    return codebook[indices.to(codebook.device)].T.reshape(1, -1, side, side).clone()


def _rng(seed: int, m: int, step: int) -> np.random.Generator:
    return np.random.default_rng((seed, 0xC11B, m, step))
