"""Masks: which pixels of an image are marked, whatever the file's format, depth and colours.

A pixel is marked if it is not background. Background is black, or transparent where a mask is drawn in its alpha
channel. Files of a lossy format, and files that were stored in one once, have pixels near black and near white; such
masks are split in the middle. Where a file has more than two kinds of pixels, the reading says how it was read.

Letters: H, W height and width.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.data.depth import DEEP
from components.errors import BadInput

Mask = NDArray[np.bool_]

NEAR = 16
"""Distance from the darkest and the brightest grey level, of 256, within which compression moves two-valued pixels."""
MOST_LEVELS = 8
"""Grey levels of a drawn mask at most; compression makes more."""
LEVELS_OF_NOISE = 3
"""Different levels of a compressed mask's white at least."""
Grey = NDArray[Any]


@dataclass(frozen=True)
class MaskReading:
    """A mask as it was read.

    `marked` is bool (H, W). `rule` names the rule by which a file was read that earlier versions refused or read in
    another way, and is None for all others: it is part of the data's identity. `note` says in words how a file of
    more than two kinds of pixels was read; it is empty for other files.
    """

    marked: Mask
    rule: str | None = None
    note: str = ""


def read_mask_image(image: Image.Image, is_lossy: bool) -> MaskReading:
    """Reads a decoded mask; `is_lossy` says whether its format loses information.

    Raises:
        BadInput: it holds values below 0 or values that are not numbers.
    """
    if image.mode in (*DEEP, "F"):
        return _by_value(_checked(np.asarray(image)), is_lossy)
    if image.has_transparency_data:
        return _by_alpha(np.asarray(image.convert("RGBA")), is_lossy)
    if image.mode in ("L", "1"):
        return _by_value(np.asarray(image.convert("L")), is_lossy)
    by_colour = _by_colour(np.asarray(image.convert("RGB")), is_lossy)
    if image.mode == "P" and not by_colour.marked.any() and np.asarray(image).any():
        # A map of classes whose palette was never filled in.
        return _ruled(np.asarray(image) > 0, "index", "has a black palette: all palette indices but 0 are marked")
    return by_colour


def _checked(values: Grey) -> Grey:
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        raise BadInput("the mask holds values that are not numbers; store it as 0 and 255")
    if (values < 0).any():
        raise BadInput(f"the mask holds values below 0 ({values.min()}); store it as 0 and 255")
    return values


def _by_value(values: Grey, is_lossy: bool) -> MaskReading:
    """Reads one value a pixel (H, W), of any type."""
    levels = _levels(values)
    darkest, brightest = levels[0], levels[-1]
    if len(levels) == 1:
        note = "has one grey level: every pixel is marked" if brightest > 0 else ""
        return MaskReading(values > 0, None if _was_plain(brightest, values.dtype) else "any", note)
    if is_lossy or _is_compressed(values):
        middle = max(darkest, brightest / 2)
        rule = None if _was_plain(brightest, values.dtype) else "half"
        note = f"has {len(levels)} grey levels: those above {middle:g} are marked" if len(levels) > 2 else ""
        return MaskReading(values > middle, rule, note)
    if darkest > 0:
        return _ruled(
            values > darkest, "darkest", f"no pixel is black: all but the darkest level ({darkest:g}) are marked"
        )
    if len(levels) == 2:
        return MaskReading(values > 0, None if _was_plain(brightest, values.dtype) else "any")
    return _ruled(values > 0, "any", f"has {len(levels)} grey levels: all above 0 are marked")


def _by_colour(pixels: NDArray[np.uint8], is_lossy: bool) -> MaskReading:
    """Reads colours (H, W, 3): all but black are marked."""
    value = pixels.max(axis=2)
    if (pixels == value[..., None]).all():
        return _by_value(value, is_lossy)
    if is_lossy:
        return _ruled(value > 127, "colour", "has colours, and a lossy format: pixels brighter than 127 are marked")
    kinds = len(np.unique(pixels.reshape(-1, 3), axis=0))
    note = f"has {kinds} colours: all but black are marked" if kinds > 2 else ""
    return _ruled(value > 0, "colour", note)


def _by_alpha(pixels: NDArray[np.uint8], is_lossy: bool) -> MaskReading:
    """Reads colours with alpha (H, W, 4): alpha counts if it varies; black, opaque pixels are background."""
    alpha = pixels[..., 3]
    if (alpha == alpha.flat[0]).all():
        return _by_colour(pixels[..., :3], is_lossy)
    seen = _by_value(alpha, is_lossy).marked
    drawn = seen & (pixels[..., :3].max(axis=2) > 0)
    if drawn.any() and not (drawn == seen).all():
        return _ruled(drawn, "alpha", "is drawn in colours and alpha: opaque pixels that are not black are marked")
    return _ruled(seen, "alpha", "is drawn in its alpha channel: pixels that are not transparent are marked")


def _levels(values: Grey) -> Grey:
    """The different values, sorted."""
    if values.dtype == np.uint8:
        return np.flatnonzero(np.bincount(values.ravel(), minlength=256)).astype(np.uint8)
    return np.unique(values)


def _ruled(marked: Mask, rule: str, note: str) -> MaskReading:
    return MaskReading(np.asarray(marked, dtype=np.bool_), rule, note)


def _is_compressed(values: Grey) -> bool:
    """Whether grey levels look like black and white that a lossy format stored once.

    Compression changes many pixels by little, on the bright side as well as on the dark one. A soft edge has all levels
    alike, and classes are few or stand on the dark side alone.
    """
    if values.dtype != np.uint8:
        return False
    counts = np.bincount(values.ravel(), minlength=256)
    levels = np.flatnonzero(counts)
    brightest = int(levels[-1])
    if len(levels) <= MOST_LEVELS or brightest < 128:
        return False
    bright = counts[brightest - NEAR : brightest]
    near = counts[1:NEAR].sum() + bright.sum()
    return bool(np.count_nonzero(bright) >= LEVELS_OF_NOISE and near > counts[1:brightest].sum() / 2)


def _was_plain(brightest: float, dtype: np.dtype[Any]) -> bool:
    """Whether two-valued masks of this brightest level were always read like this: 0 and 1, or above half the range."""
    return brightest <= 1 or (dtype.kind != "f" and brightest > (255 if dtype == np.uint8 else 65535) / 2)
