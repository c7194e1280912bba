"""Image files as people bring them: any container, depth, layout and rotation has the pixels of another reading.

Files are written by hand, by imagecodecs and by tifffile, and their pixels are those that were drawn or, for lossy
containers, those that imagecodecs decodes. Pillow, which the product reads most files with, writes a file only where
nothing else does (progressive JPEG, animations, palettes in GIF).
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from goodshot.components.data.checking import Checks, check
from goodshot.components.data.depth import turned, white_of
from goodshot.components.data.images import Limit, check_image, decode_mask, decode_rgb, orientation_of, read_mask
from goodshot.components.data.layout import Entry, Listing
from goodshot.components.data.supplied import read_files
from goodshot.components.errors import BadInput

# About damaged metadata, which some of these files have.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
Draw = Callable[[st.SearchStrategy[Any]], Any]
JPEG_TOLERANCE = 2
"""Builds of libjpeg-turbo may smooth chroma in other ways; those of Pillow and imagecodecs are equal today."""


@dataclass(frozen=True)
class File:
    """A file, and its values as uint8 or deeper (H, W) or (H, W, 3), as stored: not turned, without alpha."""

    data: bytes
    values: np.ndarray
    orientation: int = 1
    tolerance: int = 0
    frames: int = 1

    @property
    def is_deep(self) -> bool:
        return self.values.dtype != np.uint8

    def pixels(self, white: int | None) -> np.ndarray:
        """What a reader has to see: uint8 (H, W, 3)."""
        values = turned(self.values, self.orientation).astype(np.int64)
        if self.is_deep:
            values = np.minimum(np.rint(values * 255 / (white or 65535)), 255)
        return np.repeat(values[..., None], 3, axis=2) if values.ndim == 2 else values

    def agrees(self, found: np.ndarray, white: int | None) -> bool:
        # Of 16 bits that use the whole range, the upper eight are kept, which may be 1 below the nearest value.
        tolerance = self.tolerance + int(self.is_deep and white is None)
        expected = self.pixels(white)
        return found.shape == expected.shape and bool(np.abs(found - expected).max() <= tolerance)


def exif(orientation: int) -> bytes:
    """An EXIF block of one entry, big-endian."""
    return b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHHI", 0x0112, 3, 1, orientation, 0, 0)


# --- PNG ---------------------------------------------------------------------------------------------------------

ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6


def packed(values: np.ndarray, bits: int) -> list[bytes]:
    """The rows of (H, W) or (H, W, C) as bytes, the first pixel in the highest bits."""
    rows = values.reshape(len(values), -1)
    if bits == 16:
        return [row.tobytes() for row in rows.astype(">u2")]
    planes = (rows[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return [row.tobytes() for row in np.packbits(planes.astype(np.uint8).reshape(len(rows), -1), axis=1)]


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    values: np.ndarray, bits: int, colour: int, interlaced: bool = False, chunks: tuple[tuple[bytes, bytes], ...] = ()
) -> bytes:
    height, width = values.shape[:2]
    passes = [values[y::dy, x::dx] for y, x, dy, dx in ADAM7] if interlaced else [values]
    raw = b"".join(b"\0" + row for part in passes if part.size for row in packed(part, bits))
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    body = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(raw, 1)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in body)


sizes = st.one_of(st.just(1), st.integers(1, 70))


def noise(draw: Draw, top: int, *channels: int, least: int = 0) -> np.ndarray:
    """Values (H, W, *channels) in `least` to `top`, both inclusive."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    return rng.integers(least, top, (draw(sizes), draw(sizes), *channels), endpoint=True)


def photo(draw: Draw, *channels: int) -> np.ndarray:
    """A smooth image with some noise, uint8 (H, W, *channels)."""
    values = noise(draw, 24, *channels)
    rows, columns = np.ogrid[: values.shape[0], : values.shape[1]]
    wave = 110 + 100 * np.sin(rows / 7) * np.cos(columns / 9)
    return (values + (wave[..., None] if channels else wave)).astype(np.uint8)


@st.composite
def pngs(draw: Draw) -> File:
    colour = draw(st.sampled_from([GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA]))
    bits = draw(st.sampled_from({GREY: [1, 2, 4, 8, 16], PALETTE: [1, 2, 4, 8]}.get(colour, [8, 16])))
    top, channels = 2**bits - 1, {RGB: (3,), GREY_ALPHA: (2,), RGB_ALPHA: (4,)}.get(colour, ())
    # Deep values often use less than 16 bits.
    used = draw(st.sampled_from([255, 1023, 4095, top])) if bits == 16 else top
    values = noise(draw, used, *channels)
    if colour in (GREY_ALPHA, RGB_ALPHA):
        values[..., -1] = noise_like(values[..., -1], top)
    chunks = [(b"gAMA", struct.pack(">I", 45455))] * draw(st.booleans())
    chunks += [(b"iCCP", b"profile\0\0" + zlib.compress(b"no profile"))] * draw(st.booleans())
    chunks += [(b"tEXt", b"Title\0a part")] * draw(st.booleans())
    seen = values if colour != PALETTE else None
    if colour == PALETTE:
        palette = np.random.default_rng(bits).integers(0, 256, (top + 1, 3)).astype(np.uint8)
        chunks.append((b"PLTE", palette.tobytes()))
        seen = palette[values]
    if colour in (GREY, RGB, PALETTE) and draw(st.booleans()):
        clear = {GREY: struct.pack(">H", values.flat[0]), PALETTE: bytes(range(40))[: 2**bits]}
        chunks.append((b"tRNS", clear.get(colour) or struct.pack(">3H", *values[0, 0].tolist()[:3])))
    orientation = draw(st.integers(1, 8))
    chunks += [(b"eXIf", exif(orientation))] if orientation > 1 else []
    data = png(values, bits, colour, draw(st.booleans()), tuple(chunks))
    assert seen is not None
    seen = seen[..., 0] if colour == GREY_ALPHA else seen[..., :3] if seen.ndim == 3 else seen
    seen = seen * 255 // top if bits < 8 and colour == GREY else seen
    return File(data, _typed(seen, bits), orientation)


def noise_like(values: np.ndarray, top: int) -> np.ndarray:
    return np.random.default_rng(values.size).integers(0, top, values.shape, endpoint=True)


def _typed(values: np.ndarray, bits: int) -> np.ndarray:
    return values.astype(np.uint8 if bits <= 8 else np.uint16)


# --- JPEG --------------------------------------------------------------------------------------------------------


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


@st.composite
def jpegs(draw: Draw) -> File:
    kind = draw(st.sampled_from(["grey", "444", "422", "420", "progressive", "RGB", "CMYK", "YCCK"]))
    pixels = photo(draw, *{"grey": ()}.get(kind, (4,) if kind in ("CMYK", "YCCK") else (3,)))
    if kind == "progressive":
        data = saved(Image.fromarray(pixels), "JPEG", progressive=True, quality=80)
    elif kind in ("CMYK", "YCCK"):
        data = bytes(imagecodecs.jpeg8_encode(pixels, level=90, colorspace="CMYK", outcolorspace=kind))
    else:
        space = {"colorspace": "RGB", "outcolorspace": "RGB"} if kind == "RGB" else {}
        space |= {"subsampling": kind} if kind.startswith("4") else {}
        data = bytes(imagecodecs.jpeg8_encode(pixels, level=85, **space))
    values = np.asarray(imagecodecs.jpeg8_decode(data))
    if kind in ("CMYK", "YCCK"):
        # Files of Adobe's programs hold 255 for no ink. A channel's light passes its own ink and black.
        values = np.rint(values[..., :3].astype(np.float64) * values[..., 3:] / 255).astype(np.uint8)
    orientation = draw(st.integers(1, 8))
    extra = segment(0xE1, b"Exif\0\0" + exif(orientation)) if orientation > 1 else b""
    extra += segment(0xE2, b"ICC_PROFILE\0\1\1no profile") * draw(st.booleans())
    return File(data[:2] + extra + data[2:], values, orientation, JPEG_TOLERANCE)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


# --- TIFF --------------------------------------------------------------------------------------------------------


def tiff(*pages: np.ndarray, byteorder: str = "<", bigtiff: bool = False, **options: Any) -> bytes:
    out = io.BytesIO()
    with tifffile.TiffWriter(out, byteorder=byteorder, bigtiff=bigtiff) as file:  # type: ignore[arg-type]
        for page in pages:
            file.write(page, metadata=None, contiguous=False, **options)
    return out.getvalue()


def planes(values: np.ndarray) -> np.ndarray:
    return np.moveaxis(values, -1, 0).copy()


@st.composite
def layouts(draw: Draw, predicted: bool = True) -> dict[str, Any]:
    """How tifffile stores any pixels."""
    options: dict[str, Any] = draw(st.sampled_from([{}, {"rowsperstrip": 3}, {"tile": (16, 32)}]))
    # Pillow does not know BigTIFF with big-endian numbers.
    options |= draw(st.sampled_from([{"byteorder": "<"}, {"byteorder": ">"}, {"byteorder": "<", "bigtiff": True}]))
    compression = draw(st.sampled_from([None, "lzw", "zlib", "packbits"]))
    predictor = {"predictor": True} if predicted and compression in ("lzw", "zlib") and draw(st.booleans()) else {}
    return options | predictor | ({"compression": compression} if compression else {})


@st.composite
def tiffs(draw: Draw) -> File:
    kind = draw(st.sampled_from(["bits", "grey", "grey16", "grey32", "signed", "palette", "rgb", "rgb16", "cmyk"]))
    options = draw(layouts(predicted=kind != "bits"))
    orientation = draw(st.integers(1, 8))
    options["extratags"] = [(0x0112, "H", 1, orientation, True)]
    used = draw(st.sampled_from([255, 1023, 4095, 65535]))
    frames = 1
    if kind == "bits":
        stored = noise(draw, 1).astype(np.bool_)
        photometric = draw(st.sampled_from(["miniswhite", "minisblack"]))
        seen = (stored == (photometric == "minisblack")).astype(np.uint8) * 255
        data = tiff(stored, photometric=photometric, **options)
    elif kind == "palette":
        stored = noise(draw, 255).astype(np.uint8)
        colours = np.random.default_rng(stored.size).integers(0, 65536, (3, 256)).astype(np.uint16)
        seen = (colours >> 8).astype(np.uint8).T[stored]
        data = tiff(stored, photometric="palette", colormap=colours, **options)
    elif kind in ("grey32", "signed"):
        dtype = draw(st.sampled_from([np.int16, np.int32] if kind == "signed" else [np.uint32]))
        # Pillow does not know big-endian files of 32 bits without a sign.
        options |= {"byteorder": "<"} if kind == "grey32" else {}
        seen = noise(draw, min(used, 32767 if dtype == np.int16 else used)).astype(np.uint16)
        data = tiff(seen.astype(dtype), photometric="minisblack", **options)
    elif kind == "cmyk":
        ink = noise(draw, 255, 4).astype(np.uint8)
        seen = np.rint((255.0 - ink[..., :3]) * (255.0 - ink[..., 3:]) / 255).astype(np.uint8)
        data = tiff(ink, photometric="separated", **options)
    elif kind.startswith("grey"):
        seen = noise(draw, used if kind == "grey16" else 255).astype(np.uint16 if kind == "grey16" else np.uint8)
        is_white = draw(st.booleans()) and not (kind == "grey16" and options["byteorder"] == ">")
        frames = draw(st.integers(1, 3))
        stored = np.iinfo(seen.dtype).max - seen if is_white else seen
        pages = [stored, *[255 - stored] * (frames - 1)]
        data = tiff(*pages, photometric="miniswhite" if is_white else "minisblack", **options)
    else:
        dtype = np.uint16 if kind == "rgb16" else np.uint8
        alpha = draw(st.sampled_from([None, "unassalpha", "assocalpha"]))
        stored = noise(draw, used if kind == "rgb16" else 255, 3 + bool(alpha)).astype(dtype)
        seen = stored[..., :3]
        if alpha is not None:
            opaque = np.iinfo(dtype).max
            stored[..., 3] = noise_like(stored[..., 3], opaque)
            options["extrasamples"] = [alpha]
            if alpha == "assocalpha":
                # Colours are stored multiplied by alpha, and stay below it.
                full = seen.copy()
                stored[..., :3] = seen.astype(np.float64) * stored[..., 3:] / opaque
                shown = np.rint(stored[..., :3] * (opaque / np.maximum(stored[..., 3:], 1).astype(np.float64)))
                seen = np.where(stored[..., 3:] > 0, shown, stored[..., :3]).astype(dtype)
                assert (seen <= full.astype(np.int64) + 1).all()
        # Pillow does not know colours multiplied by alpha, plane by plane.
        is_planar = alpha != "assocalpha" and draw(st.booleans())
        options |= {"photometric": "rgb", "planarconfig": "separate" if is_planar else "contig"}
        data = tiff(planes(stored) if is_planar else stored, **options)
        return File(data, seen, orientation, int(alpha == "assocalpha"))
    return File(data, seen, orientation, int(kind == "cmyk"), frames)


# --- The others --------------------------------------------------------------------------------------------------


def bmp(rows: list[bytes], width: int, bits: int, palette: np.ndarray | None, top_down: bool, method: int = 0) -> bytes:
    colours = b"" if palette is None else np.insert(palette[:, ::-1], 3, 0, axis=1).tobytes()
    body = b"".join(rows if method else (row + b"\0" * (-len(row) % 4) for row in rows[:: 1 if top_down else -1]))
    height = -len(rows) if top_down else len(rows)
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, method, len(body), 0, 0, len(colours) // 4, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(colours) + len(body), 0, 0, 54 + len(colours)) + head + colours + body


@st.composite
def bmps(draw: Draw) -> File:
    bits, top_down = draw(st.sampled_from([1, 4, 8, 24, 32])), draw(st.booleans())
    if bits > 8:
        values = noise(draw, 255, bits // 8).astype(np.uint8)
        stored = values[..., [2, 1, 0, 3][: bits // 8]]
        return File(bmp(packed(stored, 8), values.shape[1], bits, None, top_down), values[..., :3])
    values = noise(draw, 2**bits - 1)
    is_grey = draw(st.booleans())
    palette = np.random.default_rng(bits).integers(0, 256, (2**bits, 3)).astype(np.uint8)
    palette = np.repeat(np.linspace(0, 255, 2**bits).astype(np.uint8)[:, None], 3, 1) if is_grey else palette
    if bits == 8 and draw(st.booleans()):
        rows = [b"".join(bytes([1, v]) for v in row) + b"\0\0" for row in values[::-1].tolist()]
        rows[-1] += b"\0\1"
        return File(bmp(rows, values.shape[1], bits, palette, False, method=1), palette[values])
    return File(bmp(packed(values, bits), values.shape[1], bits, palette, top_down), palette[values])


@st.composite
def webps(draw: Draw) -> File:
    kind = draw(st.sampled_from(["lossless", "lossless alpha", "lossy", "lossy alpha", "animated"]))
    pixels = photo(draw, 4 if "alpha" in kind else 3)
    if kind == "animated":
        first, second = Image.fromarray(pixels), Image.fromarray(255 - pixels)
        data = saved(first, "WEBP", save_all=True, append_images=[second], lossless=True)
        return File(data, pixels, frames=2)
    data = bytes(imagecodecs.webp_encode(pixels, lossless=True if "lossless" in kind else None, level=70))
    decoded = np.asarray(imagecodecs.webp_decode(data))[..., :3]
    if kind == "lossless":
        assert (decoded == pixels).all()
    return File(data, decoded, tolerance=0 if "lossless" in kind else JPEG_TOLERANCE)


@st.composite
def avifs(draw: Draw) -> File:
    bits = draw(st.sampled_from([8, 10]))
    pixels = photo(draw, *draw(st.sampled_from([(), (3,), (4,)]))).astype(np.uint16 if bits > 8 else np.uint8)
    data = bytes(imagecodecs.avif_encode(pixels << (bits - 8), level=80, speed=10, bitspersample=bits, numthreads=1))
    decoded = np.asarray(imagecodecs.avif_decode(data, numthreads=1))
    decoded = decoded[..., :3] if decoded.ndim == 3 else decoded
    # libavif converts chroma of 10 bits to 8 in one step, and this reading in two.
    return File(data, (decoded >> (bits - 8)).astype(np.uint8), tolerance=JPEG_TOLERANCE)


@st.composite
def jpeg2000s(draw: Draw) -> File:
    bits, form = draw(st.sampled_from([8, 12, 16])), draw(st.sampled_from(["jp2", "j2k"]))
    channels = draw(st.sampled_from([(), (3,), (4,)]))
    values = _typed(noise(draw, 2**bits - 1, *channels), bits)
    data = bytes(imagecodecs.jpeg2k_encode(values, level=0, codecformat=form, bitspersample=bits, reversible=True))
    if bits == 12 and not channels:
        # Pillow spreads grey values over 16 bits.
        return File(data, values << 4)
    return File(data, values[..., :3] if channels else values)


@st.composite
def gifs(draw: Draw) -> File:
    values = noise(draw, 255).astype(np.uint8)
    palette = np.random.default_rng(values.size).integers(0, 256, (256, 3)).astype(np.uint8)
    images = [Image.fromarray(v, "P") for v in (values, 255 - values)]
    for image in images:
        image.putpalette(palette.tobytes())
    frames = draw(st.integers(1, 2))
    more = {"save_all": True, "append_images": images[1:frames]} if frames > 1 else {}
    # Pillow's writer may reorder the palette, and not the colours.
    data = saved(images[0], "GIF", transparency=3, **more) if draw(st.booleans()) else saved(images[0], "GIF", **more)
    return File(data, palette[values], frames=frames)


containers = st.one_of(pngs(), tiffs(), jpegs(), bmps(), webps(), jpeg2000s(), gifs())


def check_file(file: File, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        facts = check_image(file.data)
        white = facts.white(white_of([facts.brightest]))
        decoded = decode_rgb(file.data, white=white)
        plain = decode_rgb(file.data)
    assert decoded.dtype == np.uint8
    assert (facts.height, facts.width, 3) == decoded.shape == plain.shape
    assert facts.brightest == (int(file.values.max()) if file.is_deep else None)
    assert (facts.orientation, facts.frames) == (file.orientation, file.frames)
    assert file.agrees(decoded, white)
    assert file.agrees(plain, None)
    path.write_bytes(file.data)
    (supplied,) = read_files([path])
    assert (supplied.decode() == decoded).all()
    report = check(Listing(path.parent, (Entry("train", "good", 0, path),), ()), "folder", "bolt")
    samples, findings = [*report.samples], [*report.findings]
    assert {finding.kind for finding in findings} <= {"noted"}
    (sample,) = samples
    assert (sample.height, sample.width, sample.white) == (*decoded.shape[:2], white)


@given(file=containers)
@settings(max_examples=350, deadline=None, derandomize=True)
def test_every_container_has_the_pixels_of_another_reading(
    tmp_path_factory: pytest.TempPathFactory, file: File
) -> None:
    check_file(file, tmp_path_factory.getbasetemp() / "photo.img")


@given(file=avifs())
@settings(max_examples=12, deadline=None, derandomize=True)
def test_avif_has_the_pixels_of_another_reading(tmp_path_factory: pytest.TempPathFactory, file: File) -> None:
    check_file(file, tmp_path_factory.getbasetemp() / "photo.img")


# --- What is not read --------------------------------------------------------------------------------------------

U16 = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
FOUR = np.repeat(U16[..., None], 4, axis=2)
EIGHT = U16.astype(np.uint8)
REFUSED: dict[str, tuple[bytes, str]] = {
    "float": (tiff(U16.astype(np.float32), photometric="minisblack"), "floating-point"),
    "half": (tiff(U16.astype(np.float16), photometric="minisblack"), "floating-point"),
    "double colours": (tiff(FOUR[..., :3].astype(np.float64), photometric="rgb"), "floating-point"),
    "predicted float": (tiff(U16 / np.float32(9), compression="zlib", predictor=True), "floating-point"),
    "negative": (tiff(U16.astype(np.int32) - 5, photometric="minisblack"), "holds values from -5 to 54995"),
    "negative bytes": (tiff(np.int8([[-5, 7]]), photometric="minisblack"), "holds values from -5 to 7"),
    "32 bits": (tiff(U16.astype(np.uint32) * 65537, photometric="minisblack"), "photographs have 0 to 65535"),
    "32-bit colours": (tiff(FOUR[..., :3].astype(np.uint32), photometric="rgb"), "3 unsigned channels of 32 bits"),
    "grey and alpha": (
        tiff(FOUR[..., :2], photometric="minisblack", planarconfig="contig"),
        "2 unsigned channels of 16",
    ),
    "16-bit CMYK": (tiff(FOUR, photometric="separated"), "CMYK of 16 bits a channel is not read"),
    "big BigTIFF": (tiff(U16, photometric="minisblack", byteorder=">", bigtiff=True), "big-endian BigTIFF"),
    "16-bit palette": (tiff(U16, photometric="palette", colormap=np.zeros((3, 65536), np.uint16)), "photometric 3"),
    "planar alpha": (
        tiff(planes(FOUR.astype(np.uint8)), photometric="rgb", planarconfig="separate", extrasamples=["assocalpha"]),
        "raw mode",
    ),
    "12-bit JPEG": (bytes(imagecodecs.jpeg8_encode(U16 >> 4, bitspersample=12)), "JPEG of 12 bits"),
    "lossless JPEG": (
        bytes(imagecodecs.jpeg8_encode(U16, lossless=True, bitspersample=16)),
        "lossless JPEG of 16 bits",
    ),
    "JPEG-LS": (bytes(imagecodecs.jpegls_encode(EIGHT)), "JPEG-LS of 8 bits"),
    "signed JPEG 2000": (bytes(imagecodecs.jpeg2k_encode(U16.astype(np.int16), level=0)), "signed 16-bit values"),
    "JPEG XL": (bytes(imagecodecs.jpegxl_encode(EIGHT)), "JPEG XL"),
    "HEIC": (b"\0\0\0\x18ftypheic" + bytes(20), "HEIC"),
    "text": (b"no image", "unknown format"),
}


def refusal(read: Callable[[bytes], object], data: bytes) -> str:
    with pytest.raises(BadInput) as caught:
        read(data)
    return str(caught.value)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_refused_in_one_plain_line(name: str, tmp_path: Path) -> None:
    data, words = REFUSED[name]
    line = refusal(check_image, data)
    assert line == refusal(decode_rgb, data)
    assert words in line
    problem, _, remedy = line.partition("; ")
    assert len(line.splitlines()) == 1
    assert problem
    assert remedy
    path = tmp_path / "photo.img"
    path.write_bytes(data)
    assert str(path) in refusal(lambda data: read_files([path]), data)
    report = check(Listing(tmp_path, (Entry("train", "good", 0, path),), ()), "folder", "bolt")
    samples, (finding,) = [*report.samples], report.findings
    assert (samples, finding.kind, finding.problem, finding.remedy) == ([], "broken", problem, remedy)


SMALL = Limit(0.1)


@given(file=containers, draw=st.data())
@settings(max_examples=300, deadline=None, derandomize=True)
def test_damaged_files_are_read_or_refused_in_one_line(file: File, draw: st.DataObject) -> None:
    data = bytearray(file.data)
    if draw.draw(st.booleans()):
        del data[draw.draw(st.integers(0, len(data) - 1)) :]
    else:
        for _ in range(draw.draw(st.integers(1, 3))):
            at = draw.draw(st.integers(0, min(len(data), 200) - 1))
            data[at] = draw.draw(st.integers(0, 255))
    damaged = bytes(data)
    _, problem = outcome(lambda data: orientation_of(data, SMALL), damaged)
    if "megapixels" in problem:
        # Nothing decodes a file before its size is checked: a damaged one may ask for more memory than there is.
        return
    facts, _ = outcome(lambda data: check_image(data, SMALL), damaged)
    pixels, _ = outcome(decode_rgb, damaged)
    if facts is not None:
        assert pixels.shape == (facts.height, facts.width, 3)
    outcome(read_mask, damaged)
    outcome(decode_mask, damaged)


def outcome(read: Callable[[bytes], Any], data: bytes) -> tuple[Any, str]:
    """What a reader returns, or the line with which it refuses the file."""
    found, line = None, ""
    try:
        found = read(data)
    except BadInput as error:
        line = str(error)
    assert len(line.splitlines()) <= 1
    return found, line


# --- Masks -------------------------------------------------------------------------------------------------------


def grey_masks(draw: Draw, marked: np.ndarray) -> bytes:
    """Two values of any depth, the darker one background."""
    bits = draw(st.sampled_from([1, 2, 4, 8, 16]))
    top = 2**bits - 1
    low = draw(st.sampled_from([0, 0, 0, top // 3]))
    high = draw(st.one_of(st.just(top), st.integers(low + 1, top)))
    values = np.where(marked, high, low)
    kind = draw(st.sampled_from(["png", "rgb", "tiff", "jp2", "bmp", "webp", "deep tiff"]))
    typed = _typed(values, bits)
    three = np.repeat(typed[..., None], 3, axis=2)
    if kind == "tiff" and bits >= 8:
        is_white = draw(st.booleans())
        photometric, stored = ("miniswhite", np.iinfo(typed.dtype).max - typed) if is_white else ("minisblack", typed)
        options = draw(layouts()) | ({"byteorder": "<"} if is_white and bits == 16 else {})
        return tiff(stored, photometric=photometric, **options)
    if kind == "deep tiff":
        dtype = draw(st.sampled_from([np.int32, np.float32]))
        return tiff(values.astype(dtype), photometric="minisblack", **draw(layouts()))
    if kind == "rgb" and bits >= 8:
        if draw(st.booleans()):
            return tiff(planes(three), photometric="rgb", planarconfig="separate", **draw(layouts()))
        return png(three, bits, RGB, draw(st.booleans()))
    if kind == "bmp" and bits == 8:
        return bmp(packed(three, 8), marked.shape[1], 24, None, draw(st.booleans()))
    if kind == "webp" and bits == 8:
        return bytes(imagecodecs.webp_encode(three, lossless=True))
    if kind == "jp2" and bits >= 8 and low == 0:
        return bytes(imagecodecs.jpeg2k_encode(typed, level=0, reversible=True))
    return png(values, bits, GREY, draw(st.booleans()))


def colour_masks(draw: Draw, marked: np.ndarray) -> bytes:
    """One colour on black, as pixels or in a palette, which may never have been filled in."""
    colour = draw(st.sampled_from([(255, 0, 0), (0, 0, 9), (3, 200, 0), (0, 0, 0)]))
    bits = draw(st.sampled_from([1, 2, 4, 8]))
    index = draw(st.integers(1, 2**bits - 1))
    palette = np.zeros((2**bits, 3), np.uint8)
    palette[index] = colour
    stored = marked * np.uint8(index)
    kind = draw(st.sampled_from(["png", "gif", "bmp", "tiff", "pixels"]))
    if kind == "png":
        return png(stored, bits, PALETTE, draw(st.booleans()), ((b"PLTE", palette.tobytes()),))
    if kind == "bmp" and bits != 2 and any(colour):
        return bmp(packed(stored, bits), marked.shape[1], bits, palette, draw(st.booleans()))
    if kind == "gif" and any(colour):
        image = Image.fromarray(stored, "P")
        image.putpalette(palette.tobytes())
        return saved(image, "GIF")
    if kind == "tiff" and any(colour):
        full = np.zeros((3, 256), np.uint16)
        full[:, index] = np.array(colour) * 257
        return tiff(stored, photometric="palette", colormap=full, **draw(layouts()))
    red = (marked[..., None] * np.array(colour if any(colour) else (7, 0, 0))).astype(np.uint8)
    return png(red, 8, RGB) if draw(st.booleans()) else tiff(red, photometric="rgb", **draw(layouts()))


def alpha_masks(draw: Draw, marked: np.ndarray) -> bytes:
    """One colour everywhere, and the mask in alpha."""
    bits = draw(st.sampled_from([8, 16]))
    top = 2**bits - 1
    level = draw(st.sampled_from([0, 5, top]))
    alpha = marked.astype(np.int64) * top
    kind = draw(st.sampled_from(["png", "grey", "tiff", "palette", "webp"]))
    coloured = _typed(np.dstack([np.full((*marked.shape, 3), level), alpha]), bits)
    if kind == "tiff":
        return tiff(coloured, photometric="rgb", extrasamples=["unassalpha"], **draw(layouts()))
    if kind == "grey":
        return png(coloured[..., 2:], bits, GREY_ALPHA, draw(st.booleans()))
    if kind == "palette":
        chunks = ((b"PLTE", bytes([level & 255] * 6)), (b"tRNS", b"\0\xff"))
        return png(marked.astype(np.uint8), 1, PALETTE, draw(st.booleans()), chunks)
    if kind == "webp" and bits == 8:
        return saved(Image.fromarray(coloured), "WEBP", lossless=True, exact=True)
    return png(coloured, bits, RGB_ALPHA, draw(st.booleans()))


@given(draw=st.data(), kind=st.sampled_from([grey_masks, colour_masks, alpha_masks]))
@settings(max_examples=400, deadline=None, derandomize=True)
def test_a_mask_is_what_was_drawn(draw: st.DataObject, kind: Callable[[Draw, np.ndarray], bytes]) -> None:
    height, width = draw.draw(st.integers(2, 40)), draw.draw(st.integers(1, 40))
    marked = np.random.default_rng(height * 41 + width).random((height, width)) < 0.3
    marked[0, 0], marked[1, 0] = False, True
    data = kind(draw.draw, marked)
    assert (read_mask(data).marked == marked).all()
    assert (decode_mask(data) == marked).all()


# --- Large scans -------------------------------------------------------------------------------------------------


def scan(width: int, height: int) -> bytes:
    return png(np.zeros((1, 1), np.uint8), 1, GREY)[:8] + b"".join(
        [
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)),
            chunk(b"IDAT", zlib.compress(bytes((-(-width // 8) + 1) * height), 1)),
            chunk(b"IEND", b""),
        ]
    )


def test_a_large_scan_is_read_without_a_word() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        facts = check_image(scan(20000, 12000))
    assert (facts.width, facts.height) == (20000, 12000)


def test_a_scan_above_the_limit_is_refused_before_it_is_decoded() -> None:
    line = refusal(lambda data: check_image(data, Limit(200, "dataset.max_megapixels")), scan(20000, 12000))
    assert line == (
        "its 20000x12000 pixels are 240 megapixels, more than the limit of 200; "
        "scale it down, or raise dataset.max_megapixels"
    )
    assert refusal(check_image, scan(30000, 20000)).endswith("more than the limit of 500; scale it down")
    check_image(scan(300, 200), Limit(0.06))


def test_a_mask_has_the_limit_too(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(np.zeros((9, 9), np.uint8), 8, GREY))
    (tmp_path / "mask.png").write_bytes(scan(20000, 12000))
    entry = Entry("test", "bad", 1, tmp_path / "a.png", (tmp_path / "mask.png",))
    (finding,) = check(Listing(tmp_path, (entry,), ()), "folder", "bolt", Checks(limit=Limit(200))).findings
    assert str(finding).startswith(f"{tmp_path / 'mask.png'}: its 20000x12000 pixels are 240 megapixels")
