"""Bytes to pixels: every caller gets 8-bit RGB and boolean masks, whatever format the files have.

Letters: H, W height and width.
"""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from goodshot.components.data.depth import DEEP, WHITEST, Deep, deep_values, eight_bit, is_read_anew, turned
from goodshot.components.data.masks import Mask, MaskReading, read_mask_image, resized
from goodshot.components.data.unread import FLOATING, not_read
from goodshot.components.errors import BadInput

# Pillow's limit holds for the whole process, and its message speaks of attacks. Only `_opened` opens images; it
# checks the caller's `Limit` before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = None
# Messages of these loggers about damaged or unusual files would be printed if logging is not configured.
for _library in ("PIL", "imagecodecs"):
    logging.getLogger(_library).addHandler(logging.NullHandler())

RGB = NDArray[np.uint8]
Encoded = bytes | memoryview
"""A file's bytes, read into memory or memory-mapped."""
MAX_MEGAPIXELS = 500
"""The size above which images are refused unless a caller says otherwise: a scan of 25000 x 20000 pixels."""

_PNG_HEADER = 33
"""Bytes of the signature and the first chunk, which has size, depth, colour type and interlace."""
_PNG = b"\x89PNG\r\n\x1a\n"
_PLAIN_CHUNKS = {b"IHDR", b"IDAT", b"IEND", b"pHYs", b"tIME", b"tEXt", b"zTXt", b"iTXt", b"gAMA", b"cHRM", b"sRGB"}
_ORIENTATION = 0x0112
SIDEWAYS = (5, 6, 7, 8)
"""The EXIF orientations that exchange height and width."""
_DARKEST, _BRIGHTEST = 0, 65535
_COLOURS = {
    "1": "black and white",
    "L": "grey",
    "LA": "grey with alpha",
    "P": "palette",
    "PA": "palette with alpha",
    "RGB": "colour",
    "RGBA": "colour with alpha",
}
LOSSY = (b"\xff\xd8", b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51")
"""First bytes of JPEG, of JPEG 2000 and of its bare codestream."""


@dataclass(frozen=True)
class Limit:
    """The maximum size of an image in millions of pixels, and the name of the setting for it, if there is one."""

    megapixels: float = MAX_MEGAPIXELS
    setting: str = ""

    def check(self, width: int, height: int) -> None:
        """Raises BadInput if an image of this size is above the limit."""
        if width * height > self.megapixels * 1e6:
            raise BadInput(
                f"its {width}x{height} pixels are {width * height / 1e6:.4g} megapixels, more than the limit of "
                f"{self.megapixels:g}; scale it down" + f", or raise {self.setting}" * bool(self.setting)
            )


DEFAULT_LIMIT = Limit()
"""The limit of commands that have no setting for it."""


def decode_rgb(data: Encoded, size: int | None = None, white: int | None = None) -> RGB:
    """Returns the image as uint8 RGB (H, W, 3), or (size, size, 3) by an antialiased bicubic square resize.

    Greyscale, palette and CMYK images become RGB, without a colour profile; an alpha channel is dropped (colours under
    transparent pixels are kept as stored, nothing is composited); EXIF rotation is applied. Values deeper than 8 bits
    are scaled so that `white` becomes 255; without it, 65535 does. The image may have any size: `check_image` has a
    limit.

    Raises:
        BadInput: the bytes are not a readable image, or hold floating-point pixels or values outside 0 to 65535.
    """
    plain = plain_png(data)
    if plain is not None and plain.shape[2:] and (size is None or plain.shape[:2] == (size, size)):
        return plain
    image = _rgb(data, white) if plain is None else Image.fromarray(plain).convert("RGB")
    if size is not None:
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.uint8)


def _rgb(data: Encoded, white: int | None) -> Image.Image:
    with _opened(data) as image:
        # Without a white, Pillow cuts 16-bit colours of a PNG to 8 bits as `eight_bit` does.
        is_cut = white is None and image.format == "PNG" and image.mode not in DEEP
        values = None if is_cut else _photographed(image, deep_values(_view(data), image))
        if values is None:
            # Otherwise Pillow warns that transparency is dropped.
            image.info.pop("transparency", None)
            return _upright(image).convert("RGB")
        return Image.fromarray(eight_bit(turned(values, _orientation(image)), white)).convert("RGB")


def read_mask(data: Encoded, defect_id: int | None = None) -> MaskReading:
    """Reads a mask file by the rules of `goodshot.components.data.masks`.

    With a `defect_id`, that value's pixels are marked.

    Raises:
        BadInput: the bytes are not a readable image, or hold values below 0 or values that are not numbers.
    """
    plain = plain_png(data)
    if plain is not None:
        image = Image.fromarray(plain)
        return MaskReading(plain == defect_id) if defect_id is not None else read_mask_image(image, is_lossy=False)
    with _opened(data) as image:
        is_lossy, orientation = _is_lossy(data, image), _orientation(image)
        values = deep_values(_view(data), image) if defect_id is None else None
        upright = _upright(image)
        if defect_id is not None:
            return MaskReading(np.asarray(upright) == defect_id)
        return read_mask_image(upright, is_lossy, None if values is None else turned(values, orientation))


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
    with _opened(data) as image:
        if image.mode not in ("L", "P", "1", *DEEP):
            raise BadInput(f"the mask has {image.mode} pixels; store one value a pixel (8-bit greyscale)")
        values = sorted({int(v) for v in np.unique(np.asarray(image))} - {0})
    if len(values) != 1:
        found = ", ".join(map(str, values[:5])) + " …" * (len(values) > 5) or "none"
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

    `brightest` is the largest value of an image deeper than 8 bits, and None for others. `kind` names the format, the
    colours and the bits of a value, for people. `is_read_anew` is the result of the function of that name in
    `goodshot.components.data.depth`.
    """

    width: int
    height: int
    orientation: int = 1
    frames: int = 1
    brightest: int | None = None
    kind: str = ""
    is_read_anew: bool = False

    def white(self, of_category: int | None) -> int | None:
        """Return the value of this image that is read as 255, given its category's; None for the format's maximum."""
        if self.brightest is None:
            return None
        return of_category or (WHITEST if self.is_read_anew else None)


def check_image(data: bytes, limit: Limit = DEFAULT_LIMIT) -> ImageFacts:
    """Returns the facts of an image file, having checked that the whole file is intact.

    A PNG has checksums, so its pixels are not decoded; those of other formats are.

    Raises:
        BadInput: the bytes are not a readable image, hold more pixels than `limit`, floating-point pixels, or values
            outside 0 to 65535.
    """
    with _opened(data, limit) as image:
        orientation = _orientation(image)
        if image.format != "PNG":
            image.load()
        width, height = image.size
        # For a TIFF, Pillow applies the rotation while loading, and drops the tag.
        if _orientation(image) in SIDEWAYS:
            width, height = height, width
        frames = int(getattr(image, "n_frames", 1))
        values = _photographed(image, deep_values(_view(data), image))
        if values is not None and {*values.shape[:2]} != {height, width}:
            raise BadInput(f"its pixels are {values.shape}, and its size is {width}x{height}")
        is_png = image.format == "PNG"
        colours = _COLOURS.get(image.mode, "grey" if image.mode in DEEP else image.mode)
        is_anew = values is not None and is_read_anew(image)
        kind = f"{image.format} {colours}, {8 if values is None else 8 * values.dtype.itemsize} bits"
    if is_png:
        # verify() needs a file object that nothing has been read from.
        with _opened(data, limit) as image:
            image.verify()
    brightest = None if values is None else int(values.max())
    return ImageFacts(width, height, orientation, frames, brightest, kind, is_anew)


def orientation_of(data: Encoded, limit: Limit) -> int:
    """Returns the EXIF orientation of an image, 1 if it has none.

    Raises BadInput if the bytes are not an image, or if they are one of more pixels than `limit`.
    """
    with _opened(data, limit) as image:
        return _orientation(image)


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
    except (ValueError, RuntimeError, MemoryError):
        return None
    return pixels


def _chunks(png: memoryview) -> set[bytes]:
    """The names of all chunks, and an empty name if the file ends inside a chunk."""
    at, names = 8, set()
    while at < len(png):
        names.add(bytes(png[at + 4 : at + 8]))
        at += 12 + int.from_bytes(png[at : at + 4], "big")
    return names if at == len(png) else names | {b""}


@contextmanager
def _opened(data: Encoded, limit: Limit | None = None) -> Iterator[Image.Image]:
    """The file as Pillow opens it, its pixels not yet decoded. Every error is raised as BadInput."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            if limit is not None:
                limit.check(*image.size)
            yield image
    except BadInput:
        raise
    except UnidentifiedImageError as error:
        raise BadInput(not_read(_view(data))) from error
    # On damaged files, Pillow's plugins and imagecodecs raise exceptions of every kind.
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise BadInput(f"not a readable image ({reason.replace(';', ',')}); replace the file") from error


def _upright(image: Image.Image) -> Image.Image:
    """The image, loaded completely and turned by its EXIF tag."""
    image.load()
    return ImageOps.exif_transpose(image)


def _photographed(image: Image.Image, values: Deep | None) -> Deep | None:
    """The values of a photograph. Raises BadInput if no range for scaling the values is defined."""
    if image.mode == "F":
        raise BadInput(FLOATING)
    if values is not None and (values.min() < _DARKEST or values.max() > _BRIGHTEST):
        raise BadInput(
            f"holds values from {values.min()} to {values.max()}, and photographs have {_DARKEST} to {_BRIGHTEST}; "
            "store it with 8 or 16 bits a channel, unsigned"
        )
    return values


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation; 1, which turns nothing, for none and for values that EXIF does not know."""
    value = image.getexif().get(_ORIENTATION)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _is_lossy(data: Encoded, image: Image.Image) -> bool:
    view = _view(data)
    if image.format == "WEBP":
        return b"VP8 " in _riff_chunks(view)
    if image.format == "TIFF":
        return image.info.get("compression") in ("jpeg", "tiff_jpeg")
    return image.format == "AVIF" or bytes(view[:32]).startswith(LOSSY)


def _riff_chunks(webp: memoryview) -> set[bytes]:
    """The names of a WebP file's chunks."""
    at, names = 12, set()
    while at + 8 <= len(webp):
        names.add(bytes(webp[at : at + 4]))
        size = int.from_bytes(webp[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return names


def _view(data: Encoded) -> memoryview:
    return memoryview(data).cast("B")
