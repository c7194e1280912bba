"""Error messages for image files that are not supported: the content of the file, and a remedy."""

import io
from typing import Any

import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2

STORE_AS = "store it as PNG, with 8 or 16 bits a channel"
FLOATING = "floating-point pixels have no known range; store the image with 8 or 16 bits"

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BIG_ENDIAN_BIGTIFF = b"MM\0+"
_BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _FORMAT = 258, 259, 262, 277, 339
_FLOAT = 3
_MARKER = 0xFF
_FRAMES = {
    **dict.fromkeys((0xC0, 0xC1, 0xC2, 0xC9, 0xCA), "JPEG"),
    **dict.fromkeys((0xC3, 0xCB), "lossless JPEG"),
    0xF7: "JPEG-LS",
}
"""The kind of JPEG by the marker before its size and depth."""
_NUMBERS = {1: "unsigned", 2: "signed", 5: "complex", 6: "complex"}
_JPEG_XL = (b"\xff\x0a", b"\0\0\0\x0cJXL ")
_HEIC = (b"heic", b"heix", b"hevc", b"mif1", b"msf1")


def not_read(data: memoryview) -> str:
    """Returns the one-line error for a file that Pillow does not know: the problem, "; " and the remedy."""
    head = bytes(data[:32])
    if head[:4] in _TIFF:
        return _of_tiff(data)
    if head[:2] == b"\xff\xd8":
        return _of_jpeg(bytes(data))
    if head.startswith(_JPEG_XL) or (head[4:8] == b"ftyp" and head[8:12] in _HEIC):
        kind = "JPEG XL" if head.startswith(_JPEG_XL) else "HEIC"
        return f"not a readable image ({kind}); {STORE_AS}"
    return "not a readable image (unknown format); replace the file"


def _of_jpeg(data: bytes) -> str:
    at = 2
    while at + 4 < len(data) and data[at] == _MARKER:
        kind, bits = _FRAMES.get(data[at + 1]), data[at + 4]
        if kind is not None and (kind, bits) != ("JPEG", 8):
            return f"not a readable image ({kind} of {bits} bits); {STORE_AS}"
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return "not a readable image (damaged JPEG); replace the file"


def _of_tiff(data: memoryview) -> str:
    if bytes(data[:4]) == _BIG_ENDIAN_BIGTIFF:
        return f"not a readable image (big-endian BigTIFF); {STORE_AS}"
    try:
        tags = _tags(bytes(data))
    except Exception:  # a damaged file, whose tags may hold anything
        return "not a readable image (damaged TIFF); replace the file"
    if _FLOAT in np.atleast_1d(tags.get(_FORMAT, 1)):
        return FLOATING
    bits = max(np.atleast_1d(tags.get(_BITS, 1)).tolist())
    numbers = _NUMBERS.get(int(np.atleast_1d(tags.get(_FORMAT, 1))[0]), "unknown")
    kind = f"{tags.get(_SAMPLES, 1)} {numbers} channels of {bits} bits, photometric {tags.get(_PHOTOMETRIC)}"
    return f"not a readable image (TIFF of {kind}, compression {tags.get(_COMPRESSION, 1)}); {STORE_AS}"


def _tags(data: bytes) -> dict[int, Any]:
    file = io.BytesIO(data)
    directory = ImageFileDirectory_v2(file.read(16 if data[2:3] == b"+" else 8))
    file.seek(directory.next)
    directory.load(file)
    return dict(directory)
