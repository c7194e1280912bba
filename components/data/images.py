"""Bytes to pixels: every caller gets 8-bit RGB and boolean masks, whatever format the files have.

Letters: H, W height and width.
"""

import io
import struct
import zlib
from dataclasses import dataclass

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from goodshot.components.data.depth import DEEP, Deep, deep_values, scaled, turned
from goodshot.components.data.masks import Mask, MaskReading, read_mask_image, resized
from goodshot.components.errors import BadInput

RGB = NDArray[np.uint8]
Encoded = bytes | memoryview
"""A file's bytes, read into memory or memory-mapped."""

# All exceptions that Pillow's plugins raise on damaged files.
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_PNG_HEADER = 33
"""Bytes of the signature and the first chunk, which has size, depth, colour type and interlace."""
_PNG = b"\x89PNG\r\n\x1a\n"
_PLAIN_CHUNKS = {b"IHDR", b"IDAT", b"IEND", b"pHYs", b"tIME", b"tEXt", b"zTXt", b"iTXt", b"gAMA", b"cHRM", b"sRGB"}
_ORIENTATION = 0x0112
SIDEWAYS = (5, 6, 7, 8)
"""The EXIF orientations that exchange height and width."""
FLOATING = "floating-point pixels have no known range; store the image with 8 or 16 bits"
_SIXTEEN_TO_EIGHT = 65535 / 255
LOSSY = (b"\xff\xd8", b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51")
"""First bytes of JPEG, of JPEG 2000 and of its bare codestream."""


def decode_rgb(data: Encoded, size: int | None = None, white: int | None = None) -> RGB:
    """Returns the image as uint8 RGB (H, W, 3), or (size, size, 3) by an antialiased bicubic square resize.

    Greyscale and palette images become RGB; an alpha channel is dropped (colours under transparent pixels are kept as
    stored, nothing is composited); EXIF rotation is applied. Values deeper than 8 bits are scaled so that `white`
    becomes 255; without it, 65535 does.

    Raises:
        BadInput: the bytes are not a readable image, or hold floating-point pixels.
    """
    if white is not None and (values := _deep(data)) is not None:
        image = Image.fromarray(scaled(values, white)).convert("RGB")
        return np.asarray(image if size is None else image.resize((size, size), Image.Resampling.BICUBIC))
    plain = plain_png(data)
    if plain is not None and plain.shape[2:] and (size is None or plain.shape[:2] == (size, size)):
        return plain
    image = _eight_bit(open_image(data) if plain is None else Image.fromarray(plain)).convert("RGB")
    if size is not None:
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.uint8)


def read_mask(data: Encoded, defect_id: int | None = None) -> MaskReading:
    """Reads a mask file as `goodshot.components.data.masks` says. With a `defect_id`, that value's pixels are marked.

    Raises:
        BadInput: the bytes are not a readable image, or hold values below 0 or values that are not numbers.
    """
    plain = plain_png(data)
    image = open_image(data) if plain is None else Image.fromarray(plain)
    if defect_id is not None:
        return MaskReading(np.asarray(image) == defect_id)
    if plain is not None:
        return read_mask_image(image, is_lossy=False)
    return read_mask_image(image, _is_lossy(data), _deep(data))


def decode_mask(
    data: Encoded, size: int | None = None, defect_id: int | None = None, orientation: int | None = None
) -> Mask:
    """Returns the mask of `read_mask` as bool (H, W), or (size, size) as `masks.resized` makes it.

    With an `orientation`, it is turned as that EXIF orientation says.

    Raises:
        BadInput: see `read_mask`.
    """
    marked = turned(read_mask(data, defect_id).marked, orientation or 1)
    return marked if size is None else resized(marked, size)


def defect_id_of(data: bytes) -> int:
    """Returns the one pixel value besides 0 in a mask, which identifies the kind of its defect.

    Raises:
        BadInput: the bytes are not a readable greyscale image, or hold no or several such values.
    """
    image = open_image(data)
    if image.mode not in ("L", "P", "1", *DEEP):
        raise BadInput(f"the mask has {image.mode} pixels; store one value a pixel (8-bit greyscale)")
    values = sorted({int(v) for v in np.unique(np.asarray(image))} - {0})
    if len(values) != 1:
        found = ", ".join(map(str, values)) or "none"
        raise BadInput(f"a defect's mask must hold 0 and one other value, and holds {found}; store one defect a mask")
    return values[0]


def encode_png(array: NDArray[np.uint8] | NDArray[np.uint16] | Mask) -> bytes:
    """Returns a PNG of a uint8 image (H, W, 3) or (H, W), a uint16 one (H, W), or a bool mask (H, W) as 0 and 255."""
    pixels = array.astype(np.uint8) * 255 if array.dtype == np.bool_ else array
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, format="PNG")
    return out.getvalue()


def encode_mask(mask: Mask, defect_id: int | None = None) -> bytes:
    """Returns a PNG of a mask (H, W) as 0 and 255, or as 0 and `defect_id`; the inverse of `decode_mask`."""
    if defect_id is None:
        return encode_png(mask)
    values = np.where(mask, defect_id, 0)
    return encode_png(values.astype(np.uint8)) if defect_id < 256 else encode_png(values.astype(np.uint16))


@dataclass(frozen=True)
class ImageFacts:
    """An intact image file: its size after EXIF rotation, its EXIF orientation (1: none), and its number of frames.

    `brightest` is the largest value of an image deeper than 8 bits, and None for others.
    """

    width: int
    height: int
    orientation: int = 1
    frames: int = 1
    brightest: int | None = None


def check_image(data: bytes) -> ImageFacts:
    """Returns the facts of an image file, having checked that the whole file is intact.

    A PNG has checksums, so its pixels are not decoded; those of other formats are.

    Raises:
        BadInput: the bytes are not a readable image.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            orientation = _orientation(image)
            if image.format != "PNG":
                image.load()
            width, height = image.size
            # For a TIFF, Pillow applies the rotation while loading, and drops the tag.
            if _orientation(image) in SIDEWAYS:
                width, height = height, width
            frames = int(getattr(image, "n_frames", 1))
            values = deep_values(memoryview(data), image)
        if image.format == "PNG":
            _verify_png(data)
    except (*_UNREADABLE, RuntimeError) as error:
        raise BadInput(f"not a readable image ({_reason(error)})") from error
    if image.mode == "F":
        raise BadInput(FLOATING)
    if values is not None and {*values.shape[:2]} != {height, width}:
        raise BadInput(f"its pixels are {values.shape}, and its size is {width}x{height}")
    return ImageFacts(width, height, orientation, frames, None if values is None else int(values.max()))


def plain_png(data: Encoded) -> NDArray[np.uint8] | None:
    """Returns the pixels (H, W) or (H, W, 3) of the most common PNG files, which libspng decodes faster than Pillow.

    These are 8-bit grey or RGB, not interlaced, without a chunk that changes pixels (transparency, rotation, palette).
    Returns None for all other and for damaged files, whose errors Pillow then reports.
    """
    view = memoryview(data).cast("B")
    if len(view) < _PNG_HEADER or bytes(view[:8]) != _PNG:
        return None
    depth, colour, interlace = view[24], view[25], view[28]
    if depth != 8 or colour not in (0, 2) or interlace or not _chunks(view) <= _PLAIN_CHUNKS:
        return None
    try:
        pixels: NDArray[np.uint8] = imagecodecs.spng_decode(np.frombuffer(view, np.uint8))  # type: ignore[arg-type]
    except (ValueError, RuntimeError):
        return None
    return pixels


def _chunks(png: memoryview) -> set[bytes]:
    """The names of all chunks, and an empty name if the file ends inside a chunk."""
    at, names = 8, set()
    while at < len(png):
        names.add(bytes(png[at + 4 : at + 8]))
        at += 12 + int.from_bytes(png[at : at + 4], "big")
    return names if at == len(png) else names | {b""}


def _verify_png(data: bytes) -> None:
    # verify() needs a file object that nothing has been read from.
    with Image.open(io.BytesIO(data)) as image:
        image.verify()


def open_image(data: Encoded) -> Image.Image:
    """Returns the image, loaded completely and turned by its EXIF tag. Raises BadInput if it is not readable."""
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
        return ImageOps.exif_transpose(image)
    except _UNREADABLE as error:
        raise BadInput(f"not a readable image ({_reason(error)}); replace the file") from error


def _deep(data: Encoded) -> Deep | None:
    """A deep image's values (H, W) or (H, W, C), turned by EXIF; None for an image of 8 bits."""
    view = memoryview(data).cast("B")
    try:
        with Image.open(io.BytesIO(view)) as image:
            orientation = _orientation(image)
            values = deep_values(view, image)
            # Pillow turns a TIFF itself when it loads the pixels, and drops the tag.
            is_turned = image.mode in DEEP and _orientation(image) == 1
    except (*_UNREADABLE, RuntimeError) as error:
        raise BadInput(f"not a readable image ({_reason(error)}); replace the file") from error
    return values if values is None or is_turned else turned(values, orientation)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation; 1, which turns nothing, for none and for values that EXIF does not know."""
    value = image.getexif().get(_ORIENTATION)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def orientation_of(data: Encoded) -> int:
    """Returns the EXIF orientation of an image file, 1 to 8; 1 if it has none."""
    with Image.open(io.BytesIO(data)) as image:
        return _orientation(image)


def _is_lossy(data: Encoded) -> bool:
    view = memoryview(data).cast("B")
    head = bytes(view[:32])
    if head[:4] == b"RIFF":
        return b"VP8 " in _riff_chunks(view)
    if head[:4] in (b"II*\0", b"MM\0*"):
        with Image.open(io.BytesIO(view)) as image:
            return image.info.get("compression") in ("jpeg", "tiff_jpeg")
    is_avif = head[4:8] == b"ftyp" and b"avif" in head
    return is_avif or head.startswith(LOSSY)


def _riff_chunks(webp: memoryview) -> set[bytes]:
    """The names of a WebP file's chunks."""
    at, names = 12, set()
    while at + 8 <= len(webp):
        names.add(bytes(webp[at : at + 4]))
        size = int.from_bytes(webp[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return names


def _reason(error: Exception) -> str:
    # Pillow's message contains the in-memory stream with its address.
    return "unknown format" if isinstance(error, UnidentifiedImageError) else str(error).splitlines()[0]


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise BadInput(FLOATING)
    if image.mode not in DEEP:
        return image
    values = np.asarray(image).astype(np.float64) / _SIXTEEN_TO_EIGHT
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
