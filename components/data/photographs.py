"""The demo's subjects: the photograph of each category, the regions of its splits, and a simulated camera.

Every photograph ships inside scikit-image's wheel. The train and test halves share no pixel of a texture
and no coin. A view simulates a fixed camera: from shot to shot position, rotation and light vary
a little.

Letters: S the side of a rendered crop.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from goodshot.components.data.images import RGB
from goodshot.components.data.masks import Mask
from goodshot.components.data.sample import SplitName

Gray = NDArray[np.uint8]

SIZE = 128
TINTS = {"brick": (1.16, 0.96, 0.86), "coin": (1.05, 1.0, 0.90), "gravel": (1.02, 1.0, 0.96)}
"""Gain of red, green and blue: the photographs are grey, unlike those of an industrial camera."""

TURN = {"brick": 2.0, "coin": 8.0, "gravel": 8.0}
"""Largest rotation, degrees."""

LIGHT = 0.06
TILT = 0.05
NOISE = 1.5
COIN_SHIFT = 1.5
COIN_MARGIN = 1.32
"""Side of a coin's window relative to the coin's diameter."""

_TEST_FROM = {"brick": 258, "gravel": 258}
_GAP = 4
_BICUBIC_REACH = 2
_RIM = 1.5
_TRAY_SMOOTH = 8.0
_TRAY_GRAIN = 3.0

TRAY_LEVEL = 48.0
"""Grey level of the background behind every coin, after the photograph's uneven light is removed."""

# Centre row, centre column and diameter of each coin in `skimage.data.coins()`, measured on the photograph
# (without the two that touch its black frame).
COINS = (
    (54, 44, 45), (56, 100, 39), (51, 155, 47), (51, 215, 48), (52, 275, 44), (44, 335, 60),
    (124, 45, 43), (126, 102, 39), (126, 153, 39), (124, 205, 41), (119, 270, 51), (125, 336, 40),
    (197, 44, 39), (196, 102, 45), (198, 154, 40), (194, 274, 47), (193, 213, 49),
    (260, 46, 57), (265, 114, 44), (262, 172, 58), (264, 244, 50), (264, 301, 52),
)  # fmt: skip


@dataclass(frozen=True)
class View:
    """The camera's position: centre (row, column), source pixels per pixel of the crop, angle in radians."""

    row: float
    column: float
    scale: float
    angle: float

    def reach(self) -> float:
        """Returns how far from the centre, in rows or columns, the crop reads the photograph."""
        turned = abs(np.cos(self.angle)) + abs(np.sin(self.angle))
        return float(self.scale * SIZE / 2 * turned) + _BICUBIC_REACH * max(self.scale, 1)


@dataclass(frozen=True)
class Light:
    """The light: a gain, its slope down and across the image, and the seed of the sensor's noise."""

    gain: float
    down: float
    across: float
    noise_seed: int


def region(category: str, split: SplitName) -> tuple[int, int, int, int]:
    """Returns (top, left, bottom, right), ends exclusive: the region of a texture's photograph that `split` may use."""
    height, width = photograph(category).shape
    boundary = _TEST_FROM[category]
    return (0, 0, height, boundary - _GAP) if split == "train" else (0, boundary, height, width)


def coins_of(split: SplitName) -> tuple[int, ...]:
    """Returns the indices into `COINS` of the split's coins: every other one, so that both splits have all sizes."""
    return tuple(range(int(split == "test"), len(COINS), 2))


def texture_view(category: str, split: SplitName, rng: np.random.Generator) -> View:
    """Returns a view that lies wholly inside the split's region."""
    top, left, bottom, right = region(category, split)
    angle = float(np.deg2rad(rng.uniform(-TURN[category], TURN[category])))
    reach = View(0, 0, 1.0, angle).reach()
    return View(rng.uniform(top + reach, bottom - reach), rng.uniform(left + reach, right - reach), 1.0, angle)


def coin_view(coin: int, rng: np.random.Generator) -> View:
    """Returns a view of one coin, which fills about three quarters of the crop whatever its size."""
    row, column, diameter = COINS[coin]
    shift = rng.uniform(-COIN_SHIFT, COIN_SHIFT, 2)
    angle = float(np.deg2rad(rng.uniform(-TURN["coin"], TURN["coin"])))
    return View(row + shift[0], column + shift[1], COIN_MARGIN * diameter / SIZE, angle)


def light(rng: np.random.Generator) -> Light:
    """Returns a mild random change of light."""
    gain, down, across = 1 + rng.uniform(-LIGHT, LIGHT), *rng.uniform(-TILT, TILT, 2)
    return Light(float(gain), float(down), float(across), int(rng.integers(2**32)))


def render(photo: Gray, view: View, light: Light, tint: tuple[float, float, float]) -> RGB:
    """Returns the crop (S, S, 3) of a grey photograph (H, W) as the camera sees it."""
    crop = _resample(photo, view).astype(np.float64)
    slope = np.linspace(-1, 1, SIZE)
    crop *= light.gain * (1 + light.down * slope[:, None] + light.across * slope[None, :])
    crop += np.random.default_rng(light.noise_seed).normal(0, NOISE, crop.shape)
    return np.asarray(np.clip(np.rint(crop[..., None] * np.array(tint)), 0, 255), dtype=np.uint8)


def coin_disc(coin: int, view: View) -> Mask:
    """Returns bool (S, S): the coin's disc in the crop."""
    row, column, diameter = COINS[coin]
    rows, columns = np.ogrid[: _photo_shape("coin")[0], : _photo_shape("coin")[1]]
    disc = np.hypot(rows + 0.5 - row, columns + 0.5 - column) <= diameter / 2 + _RIM
    return np.asarray(_resample(disc.astype(np.uint8) * 255, view) > 127)


@cache
def photograph(category: str) -> Gray:
    """Returns the category's photograph, uint8 (H, W), from scikit-image's own files."""
    from skimage import data

    loaders = {"brick": data.brick, "coin": data.coins, "gravel": data.gravel}
    return np.asarray(loaders[category](), dtype=np.uint8)


@cache
def donors() -> tuple[RGB, ...]:
    """Returns the colour photographs, uint8 (H, W, 3), that foreign objects are cut from."""
    from skimage import data

    return tuple(np.asarray(photo, dtype=np.uint8) for photo in (data.coffee(), data.chelsea()))


@cache
def tray() -> Gray:
    """Returns the background (H, W) behind the coins: uniform, with the photograph's grain."""
    grain = np.random.default_rng(0).normal(0, _TRAY_GRAIN, photograph("coin").shape)
    return np.clip(np.rint(TRAY_LEVEL + grain), 0, 255).astype(np.uint8)


def lone_coin(coin: int) -> Gray:
    """Returns the coins' photograph, evenly lit, with background in place of every other coin.

    The windows touch neighbouring coins, and the photograph is much brighter at its top than at its bottom.
    """
    others = _coins(i for i in range(len(COINS)) if i != coin)
    return np.where(others, tray(), _evenly_lit())


@cache
def _evenly_lit() -> Gray:
    from scipy.ndimage import gaussian_filter

    photo, bare = photograph("coin").astype(np.float64), ~_coins(range(len(COINS)))
    weight = np.maximum(gaussian_filter(bare.astype(np.float64), _TRAY_SMOOTH), 1e-6)
    behind = gaussian_filter(photo * bare, _TRAY_SMOOTH) / weight
    return np.asarray(np.clip(np.rint(photo - behind + TRAY_LEVEL), 0, 255), dtype=np.uint8)


def _coins(coins: Iterable[int]) -> Mask:
    rows, columns = np.ogrid[: _photo_shape("coin")[0], : _photo_shape("coin")[1]]
    covered = np.zeros(_photo_shape("coin"), dtype=np.bool_)
    for row, column, diameter in (COINS[i] for i in coins):
        covered |= np.hypot(rows + 0.5 - row, columns + 0.5 - column) <= diameter / 2 + 3
    return covered


def _photo_shape(category: str) -> tuple[int, int]:
    height, width = photograph(category).shape
    return height, width


def _resample(photo: Gray, view: View) -> Gray:
    # The frame of the photograph is extended outwards, for the windows of the outermost coins.
    pad = int(np.ceil(view.reach()))
    padded = np.pad(photo, pad, mode="edge")
    c, s = view.scale * np.cos(view.angle), view.scale * np.sin(view.angle)
    x, y, half = view.column + pad, view.row + pad, SIZE / 2
    affine = (c, -s, x - half * (c - s), s, c, y - half * (s + c))
    image = Image.fromarray(padded).transform((SIZE, SIZE), Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.uint8)
