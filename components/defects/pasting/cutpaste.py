"""CutPaste: a piece of the good image itself, somewhere else (Li et al., CVPR 2021).

The published parameters are used: a patch of 2 to 15 % of the image's area with an aspect ratio in (0.3, 1) or (1,
3.3), or a scar, 2 to 16 pixels wide and 10 to 25 long on an image of 256, turned by up to 45°; brightness, contrast,
saturation and hue are changed by up to 0.1. Patch and scar come equally often, as the three-way variant of the paper
learns from both. The paper trains a classifier of whole images with them. Here a segmenter learns from the mask, so the
piece is pasted with its centre on the product and clipped to the product's outline: background pasted on background
would be marked but invisible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from goodshot.components.defects.images import DefectImages, Site
from goodshot.components.defects.pasting.paster import RGB, Mask, Paster

AREA = (0.02, 0.15)
ASPECTS = ((0.3, 1.0), (1.0, 3.3))
SCAR_WIDTH = (2 / 256, 16 / 256)
SCAR_LENGTH = (10 / 256, 25 / 256)
SCAR_ANGLE = 45.0
JITTER = 0.1


@dataclass(frozen=True)
class CutPaste(Paster):
    """Pastes a patch or a scar of the good image on its product."""

    title: ClassVar[str] = "CutPaste"

    @property
    def name(self) -> str:
        """The paster's name in studies and results."""
        return "cutpaste"

    def make(self, goods: RGB, defects: DefectImages | None, site: Site, rng: np.random.Generator) -> tuple[RGB, Mask]:
        """See `Paster.make`; real defects are not used."""
        good = goods[site.good]
        while True:
            # The turned scar of a small image can have no opaque pixel, and is drawn again.
            piece = self._scar(good, rng) if rng.random() < 0.5 else self._patch(good, rng)
            made, mask = _laid(good, np.asarray(piece), site.mask, rng)
            if mask.any():
                return made, mask

    def _patch(self, good: RGB, rng: np.random.Generator) -> Image.Image:
        area, aspect = rng.uniform(*AREA) * good.shape[0] * good.shape[1], rng.uniform(*ASPECTS[rng.integers(2)])
        return _cut(good, np.sqrt(area * aspect), np.sqrt(area / aspect), rng)

    def _scar(self, good: RGB, rng: np.random.Generator) -> Image.Image:
        side = len(good)
        scar = _cut(good, rng.uniform(*SCAR_WIDTH) * side, rng.uniform(*SCAR_LENGTH) * side, rng)
        return scar.rotate(rng.uniform(-SCAR_ANGLE, SCAR_ANGLE), Image.Resampling.BICUBIC, expand=True)


def _cut(good: RGB, width: float, height: float, rng: np.random.Generator) -> Image.Image:
    """Return a random rectangle of the image with changed colours, as opaque RGBA."""
    h, w = (max(1, min(round(size), limit)) for size, limit in zip((height, width), good.shape, strict=False))
    top, left = (int(rng.integers(limit - size + 1)) for size, limit in zip((h, w), good.shape, strict=False))
    return Image.fromarray(_jittered(good[top : top + h, left : left + w], rng)).convert("RGBA")


def _laid(good: RGB, piece: NDArray[np.uint8], product: Mask, rng: np.random.Generator) -> tuple[RGB, Mask]:
    """Return the image with the piece, RGBA (h, w, 4), pasted on the product and clipped to it, and the mask."""
    row, column = divmod(int(rng.choice(np.flatnonzero(product))), good.shape[1])
    rows, columns = np.nonzero(piece[..., 3] > 127)
    y, x = rows + row - piece.shape[0] // 2, columns + column - piece.shape[1] // 2
    seen = (y >= 0) & (y < good.shape[0]) & (x >= 0) & (x < good.shape[1])
    seen[seen] = product[y[seen], x[seen]]
    made, mask = good.copy(), np.zeros(good.shape[:2], dtype=np.bool_)
    made[y[seen], x[seen]] = piece[rows[seen], columns[seen], :3]
    mask[y[seen], x[seen]] = True
    return made, mask


def _jittered(piece: RGB, rng: np.random.Generator) -> RGB:
    from skimage.color import hsv2rgb, rgb2hsv

    brightness, contrast, saturation = rng.uniform(1 - JITTER, 1 + JITTER, 3)
    values: NDArray[np.float64] = np.clip(piece / 255 * brightness, 0, 1)
    values = np.clip(values.mean() + (values - values.mean()) * contrast, 0, 1)
    hsv = rgb2hsv(values)
    hsv[..., 1] = np.clip(hsv[..., 1] * saturation, 0, 1)
    hsv[..., 0] = (hsv[..., 0] + rng.uniform(-JITTER, JITTER)) % 1
    return np.asarray(np.rint(hsv2rgb(hsv) * 255), dtype=np.uint8)
