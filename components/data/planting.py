"""Four kinds of synthetic anomaly, painted on normal images with exact masks.

Each function takes `image`, uint8 RGB (H, W, 3), and a generator, and returns `(defective, mask)`: the same
shape and type, and a bool (H, W) mask of **exactly** the pixels that differ. Sizes are fractions of the
shorter side and contrasts multiples of the standard deviation of the product's grey levels, so
that the functions fit the demo's crops and users' own images alike. A `Scene` adds knowledge about a particular
image: where the product is and how its background looks.

The constants were chosen once, so that one normal image is too little for a detector to find every anomaly.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from goodshot.components.data.images import RGB
from goodshot.components.data.masks import Mask

Float = NDArray[np.float64]

SCRATCH_LENGTH = (0.28, 0.55)
SCRATCH_WIDTH = (0.010, 0.020)
SCRATCH_BEND = 0.10
SCRATCH_CONTRAST = (1.4, 2.2)

STAIN_RADIUS = (0.08, 0.15)
STAIN_CONTRAST = (1.2, 2.0)
STAIN_EDGE = 0.12
"""Opacity below which a stain is not painted, so that a mask never marks an invisible change."""

FOREIGN_RADIUS = (0.035, 0.065)
FOREIGN_OPACITY = 0.85

MISSING_RADIUS = (0.08, 0.13)
MISSING_GRAIN = 2.0
"""Standard deviation, in grey levels, of the noise on the smooth patch that replaces a texture."""

TEXTURED = 0.75
"""A texture is removed within this share of the image with the highest local contrast, where it is visible."""

_LEAST_SPREAD = 20.0
_RAGGED = 0.35
_INSET = 0.14


@dataclass(frozen=True)
class Scene:
    """Knowledge about one image besides its pixels.

    `product`: bool (H, W), where anomalies may be (None: anywhere). `background`: uint8 (H, W, 3), the same
    view without the product (None: unknown, a missing part is smoothed over). `donor`: uint8 (h, w, 3),
    another photograph that foreign objects are cut from (None: a negative of the image itself).
    """

    product: Mask | None = None
    background: RGB | None = None
    donor: RGB | None = None


ANYWHERE = Scene()


def scratch(image: RGB, rng: np.random.Generator, scene: Scene = ANYWHERE) -> tuple[RGB, Mask]:
    """Paints a thin, slightly bent line, lighter or darker than the surface, fading towards its ends."""
    side = min(image.shape[:2])
    centre = np.array(_site(image, rng, scene), dtype=np.float64)
    angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(*SCRATCH_LENGTH) * side
    along = np.array([np.sin(angle), np.cos(angle)])
    across = np.array([-along[1], along[0]]) * rng.uniform(-SCRATCH_BEND, SCRATCH_BEND) * length
    t = np.linspace(-1, 1, max(int(4 * length), 2))[:, None]
    path = centre + t * along * length / 2 + (1 - t**2) * across
    opacity = _stroke(image.shape[:2], path, rng.uniform(*SCRATCH_WIDTH) * side)
    shade = rng.choice([-1.0, 1.0]) * rng.uniform(*SCRATCH_CONTRAST) * _spread(image, scene)
    return _blend(image, image + shade, opacity * _product(image, scene))


def stain(image: RGB, rng: np.random.Generator, scene: Scene = ANYWHERE) -> tuple[RGB, Mask]:
    """Darkens a soft, ragged blotch, a little more in the blue, as oil or rust does."""
    radius = rng.uniform(*STAIN_RADIUS) * min(image.shape[:2])
    distance = _ragged_distance(image, _site(image, rng, scene), radius, rng)
    opacity = np.clip(1.25 * (1 - distance**2), 0, 1)
    opacity[opacity < STAIN_EDGE] = 0
    shade = rng.uniform(*STAIN_CONTRAST) * _spread(image, scene) * np.array([0.85, 1.0, 1.15])
    return _blend(image, image - shade, opacity * _product(image, scene))


def foreign(image: RGB, rng: np.random.Generator, scene: Scene = ANYWHERE) -> tuple[RGB, Mask]:
    """Pastes a small ragged piece of another photograph on the image."""
    radius = rng.uniform(*FOREIGN_RADIUS) * min(image.shape[:2])
    y, x = _site(image, rng, scene)
    distance = _ragged_distance(image, (y, x), radius, rng)
    opacity = FOREIGN_OPACITY * np.clip((1 - distance) * radius, 0, 1)
    piece = _piece(255 - image if scene.donor is None else scene.donor, int(3 * radius) + 1, rng)
    rows, cols = (np.arange(n) + len(piece) // 2 for n in image.shape[:2])
    tiled = piece[np.ix_((rows - y) % len(piece), (cols - x) % len(piece))]
    return _blend(image, tiled, opacity)


def missing(image: RGB, rng: np.random.Generator, scene: Scene = ANYWHERE) -> tuple[RGB, Mask]:
    """Removes a part: a chunk of the product's rim (background shows), or a surface's texture."""
    radius = rng.uniform(*MISSING_RADIUS) * min(image.shape[:2])
    if scene.background is not None and scene.product is not None:
        site = _rim_site(scene.product, rng)
    else:
        site = _textured_site(image, radius, rng, scene)
    distance = _ragged_distance(image, site, radius, rng)
    opacity = np.clip((1 - distance) * radius, 0, 1)
    behind = scene.background if scene.background is not None else _worn(image, radius, rng)
    return _blend(image, behind, opacity * _product(image, scene))


class Planter(Protocol):
    """A kind of anomaly: takes an image, a generator and its scene, returns `(defective, mask)`."""

    def __call__(self, image: RGB, rng: np.random.Generator, scene: Scene = ...) -> tuple[RGB, Mask]:
        """Paints one anomaly."""


PLANTERS: dict[str, Planter] = {"scratch": scratch, "stain": stain, "foreign": foreign, "missing": missing}
"""Defect type → the function that paints it."""


def _blend(image: RGB, paint: Float | RGB, opacity: Float) -> tuple[RGB, Mask]:
    """Returns image·(1−a) + paint·a, and the mask of the changed pixels.

    A painted pixel that would keep its value is changed by one grey level, so that the mask has no holes.
    """
    a = opacity[..., None]
    mixed = np.clip(np.rint(image * (1 - a) + paint * a), 0, 255).astype(np.uint8)
    unmoved = (opacity > 0) & (mixed == image).all(axis=2)
    mixed[unmoved] = np.where(image[unmoved] < 255, image[unmoved] + 1, 254)
    return mixed, np.asarray((mixed != image).any(axis=2), dtype=np.bool_)


def _product(image: RGB, scene: Scene) -> Mask:
    return np.ones(image.shape[:2], dtype=np.bool_) if scene.product is None else scene.product


def _spread(image: RGB, scene: Scene) -> float:
    return max(float(image.mean(axis=2)[_product(image, scene)].std()), _LEAST_SPREAD)


def _site(image: RGB, rng: np.random.Generator, scene: Scene) -> tuple[int, int]:
    return _draw(_inner(image, scene), rng)


def _textured_site(image: RGB, radius: float, rng: np.random.Generator, scene: Scene) -> tuple[int, int]:
    from scipy.ndimage import uniform_filter

    grey, inner, side = image.mean(axis=2), _inner(image, scene), 2 * int(radius) + 1
    contrast = uniform_filter(grey**2, side) - uniform_filter(grey, side) ** 2
    return _draw(inner & (contrast >= np.quantile(contrast[inner], TEXTURED)), rng)


def _inner(image: RGB, scene: Scene) -> Mask:
    """Returns bool (H, W): the allowed centres of an anomaly, well inside the product and the image."""
    from scipy.ndimage import distance_transform_edt

    inset = round(_INSET * min(image.shape[:2]))
    product = _product(image, scene)
    depth = distance_transform_edt(np.pad(product, 1))[1:-1, 1:-1]
    inner = np.asarray(depth > inset, dtype=np.bool_)
    return inner if inner.any() else product


def _rim_site(product: Mask, rng: np.random.Generator) -> tuple[int, int]:
    from scipy.ndimage import binary_erosion

    return _draw(product & ~binary_erosion(product, iterations=2), rng)


def _draw(allowed: Mask, rng: np.random.Generator) -> tuple[int, int]:
    y, x = divmod(int(rng.choice(np.flatnonzero(allowed))), allowed.shape[1])
    return y, x


def _ragged_distance(image: RGB, site: tuple[int, int], radius: float, rng: np.random.Generator) -> Float:
    """Returns (H, W): the distance from `site` relative to an uneven radius; 1 at the blob's edge."""
    y, x = np.ogrid[: image.shape[0], : image.shape[1]]
    dy, dx = y - site[0], x - site[1]
    angle = np.arctan2(dy, dx)
    edge = np.ones(image.shape[:2])
    for wave in (2, 3, 5):
        edge += _RAGGED / wave * rng.uniform(0.4, 1) * np.sin(wave * angle + rng.uniform(0, 2 * np.pi))
    return np.asarray(np.hypot(dy, dx) / (radius * edge), dtype=np.float64)


def _stroke(shape: tuple[int, ...], path: Float, width: float) -> Float:
    """Returns opacity (H, W) of a line of `width` pixels along `path` (P, 2), weaker towards both ends."""
    opacity = np.zeros(shape[:2])
    reach = int(np.ceil(width)) + 1
    offsets = np.arange(-reach, reach + 1)
    for i, (y, x) in enumerate(path):
        rows, cols = round(y) + offsets, round(x) + offsets
        rows, cols = rows[(rows >= 0) & (rows < shape[0])], cols[(cols >= 0) & (cols < shape[1])]
        fade = min(1.0, 4 * min(i + 1, len(path) - i) / len(path))
        dot = fade * np.clip(width / 2 + 0.5 - np.hypot(rows[:, None] - y, cols[None, :] - x), 0, 1)
        opacity[np.ix_(rows, cols)] = np.maximum(opacity[np.ix_(rows, cols)], dot)
    return opacity


def _piece(donor: RGB, side: int, rng: np.random.Generator) -> RGB:
    side = min(side, *donor.shape[:2])
    y, x = (int(rng.integers(n - side + 1)) for n in donor.shape[:2])
    return donor[y : y + side, x : x + side]


def _worn(image: RGB, radius: float, rng: np.random.Generator) -> Float:
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(image.astype(np.float64), sigma=(radius / 2, radius / 2, 0))
    return np.asarray(smooth + rng.normal(0, MISSING_GRAIN, image.shape[:2])[..., None], dtype=np.float64)
