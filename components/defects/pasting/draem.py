"""DRAEM's synthetic anomalies: another photograph, blended in where Perlin noise is high (Zavrtanik et al., ICCV 2021).

The noise has 1 to 32 cells along each side, independently, is turned by up to 90° and thresholded at 0.5; the other
photograph is changed by three of seven operations; opacity β is uniform in [0.1, 1]. Unlike in the paper, the mask is
limited to the product, and noise that marks no pixel of the product is drawn again.

DRAEM takes its photographs from the Describable Textures Dataset (``draem``). ``draem_skimage`` takes the four colour
photographs that ship with scikit-image, which need no download.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from goodshot.components.data.images import decode_rgb
from goodshot.components.data.layout import is_image
from goodshot.components.defects.images import DefectImages, Site
from goodshot.components.defects.pasting.paster import RGB, Mask, Paster
from goodshot.components.detectors.natural import natural_identity, natural_images
from goodshot.components.errors import BadInput
from goodshot.components.weights.registry import DTD

OPACITY = (0.1, 1.0)
CELLS = 6
"""The number of noise cells along each side is a power of two with an exponent below this."""
THRESHOLD = 0.5
TRIES = 100
CHANGES = 3
"""Number of operations, chosen from those below, that change the photograph."""

Operation = Callable[[Image.Image, np.random.Generator], Image.Image]
OPERATIONS: tuple[Operation, ...] = (
    lambda image, rng: ImageOps.posterize(image, int(rng.integers(4, 8))),
    lambda image, rng: ImageOps.solarize(image, int(rng.integers(32, 128))),
    lambda image, rng: ImageOps.equalize(image),
    lambda image, rng: ImageOps.autocontrast(image),
    lambda image, rng: ImageEnhance.Brightness(image).enhance(rng.uniform(0.7, 1.3)),
    lambda image, rng: ImageEnhance.Color(image).enhance(rng.uniform(0.0, 2.0)),
    lambda image, rng: ImageEnhance.Sharpness(image).enhance(rng.uniform(0.0, 3.0)),
)


@dataclass(frozen=True)
class Draem(Paster):
    """Blends another photograph in.

    textures: the folder of photographs, or the name of a set in the weights' registry (``dtd``); those of scikit-image
        if it is None.
    """

    textures: str | None = None
    title: ClassVar[str] = "DRAEM's noise"

    @property
    def name(self) -> str:
        """The paster's name in studies and results."""
        return "draem_skimage" if self.textures is None else "draem"

    @property
    def weights(self) -> tuple[str, ...]:
        """The set's name, if the photographs are a registered set."""
        return (self.textures,) if self.textures == DTD else ()

    def identity(self) -> dict[str, Any]:
        """The names and sizes of the photographs' files, never their folder. Raises BadInput if there is none."""
        return {"textures": natural_identity(self.textures)}

    def make(self, goods: RGB, defects: DefectImages | None, site: Site, rng: np.random.Generator) -> tuple[RGB, Mask]:
        """See `Paster.make`; real defects are not used. Raises BadInput if the photographs cannot be read."""
        good = goods[site.good]
        mask = noise_mask(site.mask, rng)
        files = _files(natural_images(self.textures))
        texture = _changed(_texture(files[int(rng.integers(len(files)))], len(good)), rng)
        opacity = rng.uniform(*OPACITY)
        mixed = np.rint(good * (1 - opacity) + texture * opacity).astype(np.uint8)
        return np.where(mask[..., None], mixed, good), mask


def noise_mask(product: Mask, rng: np.random.Generator) -> Mask:
    """Returns a mask bool (S, S), not empty: the pixels of the product that thresholded Perlin noise marks."""
    for _ in range(TRIES):
        noise = _turned_noise(len(product), rng)
        if (mask := (noise > THRESHOLD) & product).any():
            return np.asarray(mask)
    # A product of few pixels is missed by most noise.
    return np.asarray(product & (noise >= noise[product].max()))


def _turned_noise(side: int, rng: np.random.Generator) -> NDArray[np.float64]:
    from scipy import ndimage

    most = max(1, min(CELLS, int(np.log2(side)) - 1))
    rows, columns = (2 ** int(rng.integers(most)) for _ in range(2))
    angle = rng.uniform(-90, 90)
    return np.asarray(ndimage.rotate(perlin(side, rows, columns, rng), angle, reshape=False, order=1))


def perlin(side: int, rows: int, columns: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Returns Perlin's gradient noise (side, side) with these numbers of cells, in [−1, 1], 0 at cell corners.

    A value is the interpolation, by 6t⁵ − 15t⁴ + 10t³, of the products of the four corners' random unit gradients with
    the distances to the corners, times √2.
    """
    angles = rng.uniform(0, 2 * np.pi, (rows + 1, columns + 1))
    y, x = np.meshgrid(np.arange(side) * rows / side, np.arange(side) * columns / side, indexing="ij")
    row, column = y.astype(int), x.astype(int)
    dy, dx = y - row, x - column

    def corner(down: int, right: int) -> NDArray[np.float64]:
        angle = angles[row + down, column + right]
        return np.asarray(np.sin(angle) * (dy - down) + np.cos(angle) * (dx - right))

    v, u = (t**3 * (t * (6 * t - 15) + 10) for t in (dy, dx))
    above, below = (corner(d, 0) * (1 - u) + corner(d, 1) * u for d in (0, 1))
    return np.asarray(np.sqrt(2) * (above * (1 - v) + below * v))


@lru_cache(maxsize=8)
def _files(folder: Path) -> tuple[Path, ...]:
    files = tuple(sorted(path for path in folder.rglob("*") if is_image(path)))
    if not files:
        raise BadInput(f"{folder}: holds no photograph to blend in; put some there, or name no folder")
    return files


@lru_cache(maxsize=64)
def _texture(path: Path, side: int) -> RGB:
    try:
        return decode_rgb(path.read_bytes(), side)
    except (OSError, BadInput) as error:
        raise BadInput(f"{path}: cannot be read ({error}); remove it") from error


def _changed(texture: RGB, rng: np.random.Generator) -> RGB:
    image = Image.fromarray(texture)
    for which in rng.choice(len(OPERATIONS), CHANGES, replace=False):
        image = OPERATIONS[which](image, rng)
    return np.asarray(image)
