"""Images as a network reads them, and their augmentation, which is a function of (seed, step, slot).

# B images, R × R pixels
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from goodshot.components.data import masks
from goodshot.components.fitting.config import FittingConfig
from goodshot.components.generator.augment import to_uint8
from goodshot.components.generator.batch import to_square

READ_AT_ONCE = 8
"""Size of every batch that a network reads. The last batch is filled with repeated images, so that an image's output
does not depend on the number of other images."""

RGB = NDArray[np.uint8]
Masks = NDArray[np.bool_]


def at_resolution(images: Sequence[RGB] | RGB, side: int) -> RGB:
    """uint8 RGB images (H, W, 3) of any sizes → (N, side, side, 3), bicubic with antialiasing."""
    resized = [i if i.shape[:2] == (side, side) else to_uint8(to_square(i, side)[None])[0] for i in images]
    return np.stack(resized) if resized else np.zeros((0, side, side, 3), np.uint8)


def masks_at_resolution(marked: Sequence[Masks] | Masks, side: int) -> Masks:
    """Masks (H, W) → (N, side, side), by nearest neighbour; a mask never loses all that it marks."""
    resized = [m if m.shape == (side, side) else masks.resized(m, side) for m in marked]
    return np.stack(resized) if resized else np.zeros((0, side, side), bool)


def as_input(images: RGB) -> Tensor:
    """uint8 (B, R, R, 3) → float32 (B, 3, R, R) in [−1, 1]."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def augmented(images: Tensor, marked: Tensor, config: FittingConfig, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Flip images (B, 3, R, R) in [−1, 1] with their masks (B, 1, R, R), and change the images' tone.

    Draws the same numbers whichever options are on, so that switching one changes nothing else.
    """
    draws = torch.from_numpy(rng.random((len(images), 4))).float()
    for axis, column, is_on in ((3, 0, config.horizontal_flips), (2, 1, config.vertical_flips)):
        if is_on:
            flipped = (draws[:, column] < 0.5)[:, None, None, None]
            images, marked = (torch.where(flipped, each.flip(axis), each) for each in (images, marked))
    if config.tone:
        gain, offset = (config.tone * (2 * draws[:, c, None, None, None] - 1) for c in (2, 3))
        images = (images * (1 + gain) + offset).clamp(-1, 1)
    return images, marked


@torch.no_grad()
def outputs(network: nn.Module, images: RGB, device: torch.device) -> Tensor:
    """The network's outputs for images (N, R, R, 3), one after the other, on the CPU in float32."""
    found = []
    for start in range(0, len(images), READ_AT_ONCE):
        chunk = as_input(images[start : start + READ_AT_ONCE])
        padding = chunk[-1:].expand(READ_AT_ONCE - len(chunk), *chunk.shape[1:])
        found.append(network(torch.cat([chunk, padding]).to(device))[: len(chunk)].float().cpu())
    return torch.cat(found)
