"""Images deeper than 8 bits a channel: their values, and the range that a category's values use.

Cameras of 10 or 12 bits store their values in 16-bit files, and some programs store 8-bit values in 32 bits. Scaled by
the range of the file, such photographs are nearly black. They are scaled by the smallest of `RANGES` that holds all
values of a category instead, in training and test images alike.

Letters: H, W height and width, C channels.
"""

from collections.abc import Iterable
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from goodshot.components.errors import BadInput

DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I")
"""Pillow's modes of integer pixels deeper than 8 bits."""
RANGES = (255, 1023, 4095, 16383)
"""The largest values of 8, 10, 12 and 14 bits; larger values use 16 bits."""
Deep = NDArray[Any]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG_2000_SIZES = b"\xff\x4f\xff\x51"
"""The marker that begins a JPEG 2000 codestream; the depth of the first channel follows `_TO_DEPTH` bytes later."""
_TO_DEPTH = 42
_BITS, _PHOTOMETRIC, _PLANAR, _EXTRA, _FORMAT = 258, 262, 284, 338, 339
"""Tags of a TIFF."""
_MIN_IS_WHITE, _SEPARATED, _ASSOCIATED, _SIGNED = 0, 5, 1, 2


WHITEST = 65535
"""The largest value of 16 bits; images with larger ones are refused."""


def white_of(brightest: Iterable[int | None]) -> int | None:
    """Returns the white value of images whose largest values are `brightest`; None for the format's own maximum.

    `brightest` has None for each image of 8 bits.
    """
    largest = max((value for value in brightest if value is not None), default=None)
    return None if largest is None else next((white for white in RANGES if largest <= white), None)


def deep_values(data: memoryview, image: Image.Image) -> Deep | None:
    """Returns the values (H, W) or (H, W, C) of a deep image file without alpha, as stored; None for 8 bits.

    Pillow silently reduces 16-bit colours to 8 bits, and reads some deep TIFF and JPEG 2000 files wrong. Deep files are
    therefore decoded by imagecodecs, without the rotation of the EXIF tag. `image` is the file as Pillow opens it. A
    TIFF's values may be floating point.

    Raises:
        BadInput: the file holds deep pixels that are not read (CMYK, JPEG 2000 of signed or more than 16-bit values).
        Exception: the file is damaged.
    """
    if image.format == "TIFF":
        return _tiff_values(data, image)
    if image.format == "JPEG2000":
        return _jpeg2000_values(data, image)
    if image.mode in DEEP:
        return np.asarray(image)
    if bytes(data[:8]) == _PNG and data[24] == 16:
        return _without_alpha(imagecodecs.png_decode(bytes(data)))
    return None


def is_read_anew(image: Image.Image) -> bool:
    """Returns whether earlier versions read other values of a deep file.

    Such files are TIFFs that are signed, have white as 0, are stored by planes or have colours multiplied by alpha, and
    JPEG 2000 files with colours. The `white` of such a file is always stated, so that its identity differs from that of
    the values read by earlier versions.
    """
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        is_signed = _SIGNED in np.atleast_1d(tags.get(_FORMAT, 1))
        is_associated = _ASSOCIATED in np.atleast_1d(tags.get(_EXTRA, 0))
        return is_signed or is_associated or tags.get(_PLANAR) == 2 or tags.get(_PHOTOMETRIC) == _MIN_IS_WHITE
    return image.format == "JPEG2000" and image.mode not in DEEP


def _tiff_values(data: memoryview, image: Image.Image) -> Deep | None:
    tags = image.tag_v2  # type: ignore[attr-defined]
    bits, is_signed = int(np.max(tags.get(_BITS, 1))), _SIGNED in np.atleast_1d(tags.get(_FORMAT, 1))
    if bits <= 8 and not is_signed:
        return None
    if tags.get(_PHOTOMETRIC) == _SEPARATED:
        raise BadInput(f"CMYK of {bits} bits a channel is not read; store it as RGB, or with 8 bits a channel")
    values = np.asarray(imagecodecs.tiff_decode(bytes(data)))
    if bits <= 8 and values.min() >= 0:
        return None
    if tags.get(_PLANAR) == 2 and values.ndim == 3:
        values = np.moveaxis(values, 0, -1)
    if tags.get(_PHOTOMETRIC) == _MIN_IS_WHITE and values.dtype.kind != "f":
        values = 2 ** (bits - is_signed) - 1 - values
    if _ASSOCIATED in np.atleast_1d(tags.get(_EXTRA, 0)) and values.shape[2:] == (4,):
        values = _unassociated(values, 2**bits - 1)
    return _without_alpha(values)


def _unassociated(values: Deep, opaque: int) -> Deep:
    """Return colours (H, W, 4) stored multiplied by alpha in the form that Pillow returns for 8 bits."""
    alpha = values[..., 3:]
    colours = np.rint(values * (opaque / np.maximum(alpha, 1)))
    return np.where(alpha > 0, np.minimum(colours, opaque), values).astype(values.dtype)


def _jpeg2000_values(data: memoryview, image: Image.Image) -> Deep | None:
    depth = data[bytes(data).index(_JPEG_2000_SIZES) + _TO_DEPTH]
    is_signed, bits = depth >> 7, (depth & 127) + 1
    if is_signed or bits > 16:
        kind = f"{'signed ' * is_signed}{bits}-bit values"
        raise BadInput(f"JPEG 2000 of {kind} is not read; store it with 8 or 16 bits a channel, unsigned")
    if image.mode in DEEP:
        return np.asarray(image)
    return _without_alpha(np.asarray(imagecodecs.jpeg2k_decode(bytes(data)))) if bits > 8 else None


def scaled(values: Deep, white: int) -> NDArray[np.uint8]:
    """Returns values scaled to uint8, with `white` and all larger values as 255."""
    return np.clip(np.rint(values.astype(np.float64) * (255 / white)), 0, 255).astype(np.uint8)


def eight_bit(values: Deep, white: int | None) -> NDArray[np.uint8]:
    """Returns values of 0 to 65535 as uint8, with `white` (by default 65535) and all larger values as 255."""
    if white is None and values.ndim == 3:
        # Pillow does the same, so images that Pillow has read correctly keep their pixels.
        return (values >> 8).astype(np.uint8)
    return scaled(values, white or 65535)


def turned(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Returns values (H, W, …) turned as an EXIF orientation of 1 to 8 asks for."""
    if orientation in (5, 6, 7, 8):
        values = np.swapaxes(values, 0, 1)
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values


def _without_alpha(values: Deep) -> Deep:
    if values.ndim == 2:
        return values
    channels = {1: 1, 2: 1, 4: 3}.get(values.shape[2], values.shape[2])
    return values[..., 0] if channels == 1 else values[..., :channels]
