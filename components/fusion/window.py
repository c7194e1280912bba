"""The square of an image in which a defect is learned and made.

The paper diffuses whole images. A small base has few pixels, of which a small defect would get one or two, so it works
in a square about the mask; outside the square, the good image is kept in any case.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

LEAST_SHARE = 4
"""A window's side is at least the image's divided by this."""


class Window(NamedTuple):
    """A square of an image, in pixels."""

    top: int
    left: int
    side: int

    def of(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return the window's part of an image or mask (S, S, …), as a view."""
        return image[self.top : self.top + self.side, self.left : self.left + self.side]


def window_about(mask: NDArray[np.bool_], margin: float) -> Window:
    """The square about a mask, bool (S, S), ``margin`` times as wide as it, within the image; 0: the whole image.

    An empty mask also gives the whole image.
    """
    side = len(mask)
    if not margin or not mask.any():
        return Window(0, 0, side)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    extent = 1 + max(rows[-1] - rows[0], columns[-1] - columns[0])
    wanted = min(max(int(np.ceil(margin * extent)), side // LEAST_SHARE), side)
    corner = [int(np.clip((x[0] + x[-1] + 1 - wanted) // 2, 0, side - wanted)) for x in (rows, columns)]
    return Window(corner[0], corner[1], wanted)


def random_window(side: int, rng: np.random.Generator) -> Window:
    """Return a random square of an image of this side, between a quarter of it and the whole image wide."""
    wanted = int(rng.integers(side // LEAST_SHARE, side + 1))
    top, left = rng.integers(side - wanted + 1, size=2)
    return Window(int(top), int(left), wanted)


def to_image(pixels: NDArray[np.uint8], side: int) -> Tensor:
    """uint8 RGB (S, S, 3) → (3, R, R) in [−1, 1], bicubic with antialiasing where the sides differ."""
    given = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).float() / 127.5 - 1
    if given.shape[-1] == side:
        return given
    resized = F.interpolate(given[None], (side, side), mode="bicubic", antialias=True, align_corners=False)
    return resized[0].clamp(-1, 1)
