"""Random affine maps of images and masks, drawn from a generator of the caller. B maps, H × W pixels."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from goodshot.components.fusion.config import AffineConfig


def random_maps(ranges: AffineConfig, count: int, rng: np.random.Generator) -> Tensor:
    """``count`` affine maps, float32 (B, 2, 3), from output to input positions in [−1, 1]², for ``affine_grid``."""
    angle = np.deg2rad(ranges.rotation) * rng.uniform(-1, 1, count)
    shift = 2 * ranges.shift * rng.uniform(-1, 1, (2, count))
    zoom = 1 + ranges.scale * rng.uniform(-1, 1, count)
    signs = np.where(rng.uniform(size=(2, count)) < 0.5, -1.0, 1.0) if ranges.flips else np.ones((2, count))
    cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
    rows = [[cos * signs[0], -sin * signs[1], shift[0]], [sin * signs[0], cos * signs[1], shift[1]]]
    return torch.from_numpy(np.array(rows, np.float32)).permute(2, 0, 1).contiguous()


def moved(images: Tensor, maps: Tensor, outside: str = "reflection") -> Tensor:
    """Warp images (B, C, H, W) by their maps, bilinear. ``outside``: ``reflection``, or ``zeros`` as masks need it."""
    grid = F.affine_grid(maps.to(images), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=outside, align_corners=False)


def seeded(seed: int, purpose: int, step: int) -> np.random.Generator:
    """Return the random number generator of one step and purpose, independent of earlier draws."""
    return np.random.default_rng((seed, purpose, step))


def normal(shape: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    """Standard normal float32 noise of this shape, on the CPU."""
    return torch.from_numpy(rng.standard_normal(math.prod(shape), np.float32)).view(shape)
