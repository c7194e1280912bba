"""Where defects are made: a good image, a real defect's mask, and the mask's place on the product (METHOD B, Data).

The masks of the given images, which are those of the training third, are rotated, scaled, mirrored and moved to a place
on the product; one in five is used unchanged. A mask that would reach beyond the product is drawn again with smaller
and smaller changes, until its share on the product is about that of the unchanged mask. Large masks therefore move
little. A mask of at least half the product's area is not changed, because it marks the whole product.

A site is a function of (seed, index) alone. The defect types take turns, so that the first n sites have each type
equally often, and the first c sites of a type are the same however many follow. For c sites of each of T types, take
the indices 0 … c·T − 1. The real images of a type take turns too, in an order that the seed shuffles.

Letters: K good images, N defective images, S their side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from goodshot.components.config import Config
from goodshot.components.defects.images import DefectImages, Site
from goodshot.components.defects.warping import IDENTITY, Matrix, about, warp_mask
from goodshot.components.errors import BadInput

Mask = NDArray[np.bool_]

TRIES = 12
LARGEST_SCALE = 10
"""The largest factor of a mask's size: no mask on a product needs more."""
INSIDE = 0.95
"""Minimum share of a changed mask on the product, relative to that of the unchanged mask."""
LEAST_INSIDE = 0.5
"""Lower bound of the unchanged mask's share: below it, the mask's place on this image is not meaningful."""
WHOLE = 0.5
"""A mask of at least this share of the product's area is not changed."""
LEAST_AREA = 0.5
"""Minimum area of a transformed mask, relative to the area that its scale predicts: thin masks can fall apart."""


class PlacingConfig(Config):
    """The limits within which a mask may be changed.

    rotation: largest rotation in degrees, either way. scale: smallest and largest factor of its size. flip: whether
    every other mask is mirrored. unchanged: share of the masks that stay as they are, where they are.
    """

    rotation: float = Field(default=45.0, ge=0, le=180)
    scale: tuple[float, float] = (0.75, 1.33)
    flip: bool = True
    unchanged: float = Field(default=0.2, ge=0, le=1)

    @model_validator(mode="after")
    def _scale_is_a_range(self) -> Self:
        low, high = self.scale
        if not 0 < low <= high <= LARGEST_SCALE:
            raise ValueError(
                f"scale = {low:g} to {high:g}; give two factors, 0 < smallest <= largest <= {LARGEST_SCALE}"
            )
        return self


DEFAULT_PLACING = PlacingConfig()


def sites(
    products: Mask, defects: DefectImages, indices: Iterable[int], seed: int, config: PlacingConfig = DEFAULT_PLACING
) -> Iterator[Site]:
    """Yields the sites of these indices, each with a mask that is not empty.

    products: bool (K, S, S), the product's area on the good images (`foreground`). defects: N > 0 images, of the
        training third alone.

    Raises:
        BadInput: nothing is marked in the mask of a defective image.
    """
    for name, mask in zip(defects.types, defects.masks, strict=True):
        if not mask.any():
            raise BadInput(f"nothing is marked in the mask of a training image of type {name}; draw the defect")
    sources = _sources(defects)
    for index in indices:
        kind, visit = index % len(sources), index // len(sources)
        yield _site(products, defects, _turn(sources[kind], visit, [seed, 0x5EED, kind]), [seed, 0x517E, index], config)


def free_sites(products: Mask, indices: Iterable[int], seed: int) -> Iterator[Site]:
    """Yields sites for anomalies that use no real defect: a good image, and the product's whole area as the mask."""
    for index in indices:
        good = int(np.random.default_rng([seed, 0x517E, index]).integers(len(products)))
        yield Site(good, -1, products[good], IDENTITY)


def _sources(defects: DefectImages) -> list[list[int]]:
    """The indices of the images of each type, the types sorted."""
    return [[i for i, each in enumerate(defects.types) if each == kind] for kind in sorted({*defects.types})]


def _turn(images: list[int], visit: int, entropy: list[int]) -> int:
    """Return the image whose turn it is; each round uses every image once, in an order of its own."""
    order = np.random.default_rng([*entropy, visit // len(images)]).permutation(len(images))
    return images[int(order[visit % len(images)])]


def _site(products: Mask, defects: DefectImages, source: int, entropy: list[int], config: PlacingConfig) -> Site:
    rng = np.random.default_rng(entropy)
    good = int(rng.integers(len(products)))
    product, mask = products[good], defects.masks[source]
    at_home = (mask & product).sum() / mask.sum()
    if rng.random() >= config.unchanged and mask.sum() < WHOLE * product.sum():
        for strength in np.clip(2 - 2 * np.arange(TRIES) / TRIES, 0, 1):
            matrix = _transform(mask, product, float(strength), rng, config)
            placed = warp_mask(mask, matrix) & product
            whole = mask.sum() * abs(np.linalg.det(matrix[:, :2]))
            if placed.any() and placed.sum() >= max(INSIDE * max(at_home, LEAST_INSIDE), LEAST_AREA) * whole:
                return Site(good, source, placed, matrix)
    # A mask beside the product of this image, such as one of a part that lies elsewhere, stays whole.
    return Site(good, source, mask & product if at_home else mask, IDENTITY)


def _transform(mask: Mask, product: Mask, strength: float, rng: np.random.Generator, config: PlacingConfig) -> Matrix:
    """Return a similarity about the mask's centre that moves it to a point of the product; ``strength`` 0: identity."""
    angle = np.deg2rad(rng.uniform(-config.rotation, config.rotation)) * strength
    scale = np.exp(rng.uniform(*np.log(config.scale)) * strength)
    mirrored = -1.0 if config.flip and rng.random() < 0.5 else 1.0
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([mirrored, 1.0])
    centre, goal = _centre(mask), _draw(product, rng)
    return about(centre, linear, centre + strength * (goal - centre))


def _centre(mask: Mask) -> NDArray[np.float64]:
    """The mask's centre of mass (x, y)."""
    return np.asarray(np.argwhere(mask).mean(axis=0)[::-1], dtype=np.float64)


def _draw(product: Mask, rng: np.random.Generator) -> NDArray[np.float64]:
    """A pixel (x, y) of the product."""
    y, x = divmod(int(rng.choice(np.flatnonzero(product))), product.shape[1])
    return np.array([x, y], dtype=np.float64)
