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

DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I")
"""Pillow's modes of integer pixels deeper than 8 bits."""
RANGES = (255, 1023, 4095, 16383)
"""The largest values of 8, 10, 12 and 14 bits; above, values use 16 bits."""
Deep = NDArray[Any]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG_2000 = (b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51")
_BITS_PER_SAMPLE = 258
_PLANAR_CONFIGURATION = 284


def white_of(brightest: Iterable[int | None]) -> int | None:
    """Returns the value that is white in images whose largest values are `brightest`; None if that is the file's.

    `brightest` has None for each image of 8 bits.
    """
    largest = max((value for value in brightest if value is not None), default=None)
    return None if largest is None else next((white for white in RANGES if largest <= white), None)


def deep_values(data: memoryview, image: Image.Image) -> Deep | None:
    """Returns the values (H, W) or (H, W, C) of a deep image file without alpha, as stored; None for 8 bits.

    Pillow reduces colours of 16 bits to 8 without a word, so these are decoded by imagecodecs, without the rotation of
    the EXIF tag. `image` is the file as Pillow opens it.

    Raises:
        ValueError, RuntimeError: imagecodecs cannot decode the file.
    """
    if image.mode == "F":
        return None  # floating point, which has no known range
    if image.mode in DEEP:
        return np.asarray(image)
    if bytes(data[:8]) == _PNG:
        return _without_alpha(imagecodecs.png_decode(bytes(data))) if data[24] == 16 else None
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (8,))
        return _tiff_values(data, image) if max(np.atleast_1d(bits)) > 8 else None
    if bytes(data[:12]).startswith(_JPEG_2000):
        values = np.asarray(imagecodecs.jpeg2k_decode(bytes(data)))
        return _without_alpha(values) if values.dtype.itemsize > 1 else None
    return None


def _tiff_values(data: memoryview, image: Image.Image) -> Deep | None:
    values = np.asarray(imagecodecs.tiff_decode(bytes(data)))
    if values.dtype.kind not in "ui":
        return None
    if image.tag_v2.get(_PLANAR_CONFIGURATION) == 2:  # type: ignore[attr-defined]
        values = np.moveaxis(values, 0, -1)
    return _without_alpha(values)


def scaled(values: Deep, white: int) -> NDArray[np.uint8]:
    """Returns values as uint8, `white` and all above as 255."""
    return np.clip(np.rint(values.astype(np.float64) * (255 / white)), 0, 255).astype(np.uint8)


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
