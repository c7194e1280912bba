"""Masks: which pixels of an image are marked, whatever the file's format, depth and colours.

A pixel is marked if it is not background. Background is black, or transparent where a mask is drawn in its alpha
channel. Files of a lossy format, and files that were stored in one once, have pixels near black and near white; such
masks are thresholded in the middle. For a file with more than two kinds of pixels, `MaskReading.note` says how the file
was read.

Letters: H, W height and width.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from goodshot.components.data.depth import DEEP
from goodshot.components.errors import BadInput

Mask = NDArray[np.bool_]

NEAR = 16
"""Distance from the darkest and the brightest grey level, of 256, within which compression moves two-valued pixels."""
MOST_LEVELS = 8
"""Maximum number of grey levels in a drawn mask; compression makes more."""
LEVELS_OF_NOISE = 3
"""Minimum number of different levels near white in a compressed mask."""
Values = NDArray[Any]


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


def read_mask_image(image: Image.Image, is_lossy: bool, deep: Values | None = None) -> MaskReading:
    """Reads a decoded mask.

    Args:
        is_lossy: whether its format loses information.
        deep: its values (H, W) or (H, W, C), if the file has more than 8 bits, turned as `image` is.

    Raises:
        BadInput: it holds values below 0 or values that are not numbers.
    """
    reading = _read(image, is_lossy, deep)
    before = _read_before(image) if reading.rule is not None else None
    is_same = before is not None and np.array_equal(before, reading.marked)
    return replace(reading, rule=None) if is_same else reading


def resized(marked: Mask, size: int) -> Mask:
    """Returns a mask (H, W) as bool (size, size), by nearest neighbour.

    Where that would leave nothing of a thin or small defect, every pixel that the defect touches is marked.
    """
    if not vanishes(marked, size):
        return _nearest(marked, size)
    shares = Image.fromarray(marked.astype(np.float32)).resize((size, size), Image.Resampling.BOX)
    return np.asarray(shares) > 0


def vanishes(marked: Mask, size: int) -> bool:
    """Returns whether resizing a mask (H, W) to `size` × `size` by nearest neighbour removes all marked pixels."""
    return bool(marked.any()) and not _nearest(marked, size).any()


def _nearest(marked: Mask, size: int) -> Mask:
    image = Image.fromarray(marked.astype(np.uint8))
    return np.asarray(image.resize((size, size), Image.Resampling.NEAREST)) > 0


def _read(image: Image.Image, is_lossy: bool, deep: Values | None) -> MaskReading:
    if image.mode in (*DEEP, "F"):
        return _by_value(_checked(np.asarray(image) if deep is None else deep), is_lossy)
    if deep is not None and deep.any():
        values = _checked(deep.max(axis=2) if deep.ndim == 3 else deep)
        alpha = np.asarray(image.getchannel("A")) if "A" in image.getbands() else None
        if alpha is None or not _varies(alpha.reshape(-1, 1)):
            return _by_value(values, is_lossy)
        if _varies(values[alpha > 0][:, None]):
            return _by_opaque(_by_value(np.where(alpha > 0, values, 0), is_lossy), alpha > 0)
    if image.has_transparency_data:
        return _by_alpha(np.asarray(image.convert("RGBA")), is_lossy)
    if image.mode in ("L", "1"):
        return _by_value(np.asarray(image.convert("L")), is_lossy)
    by_colour = _by_colour(np.asarray(image.convert("RGB")), is_lossy)
    if image.mode == "P" and not by_colour.marked.any() and np.asarray(image).any():
        # A map of classes whose palette was never filled in.
        return _ruled(np.asarray(image) > 0, "index", "has a black palette: all palette indices but 0 are marked")
    return by_colour


def _read_before(image: Image.Image) -> Mask | None:
    """Return the mask as earlier versions read it; None if they refused the file."""
    if image.mode == "F":
        return None
    values = np.asarray(image if image.mode in DEEP else image.convert("L"))
    if values.max() <= 1:
        return np.asarray(values > 0)
    marked = np.asarray(values > (65535 if image.mode in DEEP else 255) / 2)
    return marked if marked.any() else None


def _checked(values: Values) -> Values:
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        raise BadInput("the mask holds values that are not numbers; store it as 0 and 255")
    if (values < 0).any():
        raise BadInput(f"the mask holds values below 0 ({values.min()}); store it as 0 and 255")
    return values


def _by_value(values: Values, is_lossy: bool) -> MaskReading:
    """Reads one value a pixel (H, W), of any type."""
    levels = _levels(values)
    darkest, brightest = levels[0], levels[-1]
    if len(levels) == 1:
        return _ruled(values > 0, "any", "")
    if is_lossy or _is_compressed(values):
        middle = max(darkest, brightest / 2)
        note = f"has {len(levels)} grey levels: those above {middle:g} are marked" if len(levels) > 2 else ""
        return _ruled(values > middle, "half", note)
    if darkest > 0:
        note = f"has no black pixel: all but the darkest level ({darkest:g}) are marked"
        return _ruled(values > darkest, "darkest", note)
    note = f"has {len(levels)} grey levels: all above 0 are marked" if len(levels) > 2 else ""
    return _ruled(values > 0, "any", note)


def _by_colour(pixels: NDArray[np.uint8], is_lossy: bool) -> MaskReading:
    """Reads colours (H, W, 3): all but black are marked, or all but the most frequent one if none is black."""
    brightness = pixels.max(axis=2)
    if (pixels == brightness[..., None]).all():
        return _by_value(brightness, is_lossy)
    if is_lossy or _is_compressed(brightness):
        middle = int(brightness.max()) / 2
        return _ruled(
            brightness > middle, "colour", f"has colours, compressed: those brighter than {middle:g} are marked"
        )
    codes = pixels[..., 0].astype(np.uint32) << 16 | pixels[..., 1].astype(np.uint32) << 8 | pixels[..., 2]
    colours, counts = np.unique(codes, return_counts=True)
    background = 0 if colours[0] == 0 else int(colours[counts.argmax()])
    note = f"has {len(colours)} colours: all but black are marked" if len(colours) > 2 else ""
    if background:
        note = f"has no black pixel: all but the most frequent colour (#{background:06x}) are marked"
    return _ruled(codes != background, "colour", note)


def _by_alpha(pixels: NDArray[np.uint8], is_lossy: bool) -> MaskReading:
    """Reads colours with alpha (H, W, 4).

    Alpha alone counts if the pixels that are not transparent have one colour; otherwise their colours count.
    """
    alpha, colours = pixels[..., 3], pixels[..., :3]
    if (alpha == alpha.flat[0]).all():
        return _by_colour(colours, is_lossy)
    seen = alpha > (127 if is_lossy else 0)
    if _varies(colours[seen]):
        return _by_opaque(_by_colour(np.where(seen[..., None], colours, 0).astype(np.uint8), is_lossy), seen)
    if seen.mean() > 0.5 and not colours[seen].any() and colours.any():
        # A black mask whose defects were made transparent.
        return _ruled(~seen, "alpha", "is black where it is opaque: transparent pixels are marked")
    return _ruled(seen, "alpha", "is drawn in its alpha channel: pixels that are not transparent are marked")


def _by_opaque(reading: MaskReading, seen: Mask) -> MaskReading:
    return _ruled(reading.marked & seen, "alpha", "is drawn in colours and alpha: opaque colours are marked")


def _varies(colours: Values) -> bool:
    """Whether the colours (N, C) are not all equal."""
    return bool((colours != colours[:1]).any())


def _levels(values: Values) -> Values:
    """Return the distinct values, sorted."""
    if values.dtype == np.uint8:
        return np.flatnonzero(np.bincount(values.ravel(), minlength=256)).astype(np.uint8)
    return np.unique(values)


def _ruled(marked: Mask, rule: str, note: str) -> MaskReading:
    return MaskReading(np.asarray(marked, dtype=np.bool_), rule, note)


def _is_compressed(values: Values) -> bool:
    """Whether grey levels look like black and white that a lossy format stored once.

    Compression changes many pixels slightly, near black and near white. A soft edge has all levels about equally often;
    class labels have few levels, or levels near black only.
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
