import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from goodshot.components.data import decode_mask, decode_rgb, encode_png
from goodshot.components.data.images import check_image
from goodshot.components.data.photographs import donors, photograph
from goodshot.components.errors import BadInput

GREY, COLOUR = photograph("brick")[:96, :64], donors()[0][:96, :64]


def _save(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format=kind, **options)
    return out.getvalue()


def test_colour_and_grey_come_back_exactly() -> None:
    assert (decode_rgb(encode_png(COLOUR)) == COLOUR).all()
    assert (decode_rgb(encode_png(GREY)) == GREY[..., None]).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_to_eight(kind: str) -> None:
    deep = Image.fromarray(GREY.astype(np.uint16) * 257)
    assert (decode_rgb(_save(deep, kind)) == GREY[..., None]).all()


def test_alpha_is_dropped_and_not_composited() -> None:
    clear = np.dstack([COLOUR, np.zeros(COLOUR.shape[:2], dtype=np.uint8)])
    assert (decode_rgb(encode_png(clear)) == COLOUR).all()


def test_palette_images_become_rgb() -> None:
    indexed = Image.fromarray(COLOUR).quantize(16)
    assert (decode_rgb(_save(indexed)) == np.asarray(indexed.convert("RGB"))).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_exif_rotation_is_applied(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = _save(Image.fromarray(COLOUR), kind, exif=exif)
    assert (decode_rgb(data) == np.rot90(COLOUR, -1)).all()
    facts = check_image(data)
    assert (facts.width, facts.height, facts.orientation) == (96, 64, 6)
    assert facts.kind == f"{kind} colour, 8 bits"


def test_resizing_is_square_and_antialiased() -> None:
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (128, 64))
    small = decode_rgb(encode_png(stripes), 16)
    assert small.shape == (16, 16, 3)
    assert np.abs(small.astype(int) - 127).max() < 12


def test_floating_point_and_garbage_are_refused() -> None:
    with pytest.raises(BadInput, match="floating-point"):
        decode_rgb(_save(Image.fromarray(GREY.astype(np.float32)), "TIFF"))
    with pytest.raises(BadInput, match=r"not a readable image \(unknown format\)"):
        decode_rgb(b"no image")


def test_masks_of_any_convention_mark_the_same_pixels() -> None:
    truth = GREY > 120
    bits = truth.astype(np.uint8)
    files = [
        encode_png(truth),
        encode_png(bits),
        _save(Image.fromarray(bits.astype(np.uint16) * 65535)),
        _save(Image.fromarray(truth)),
        encode_png(np.repeat(bits[..., None] * 255, 3, axis=2).astype(np.uint8)),
    ]
    for data in files:
        assert (decode_mask(data) == truth).all()
    assert not decode_mask(encode_png(np.zeros_like(bits))).any()


def test_masks_are_resized_by_nearest_neighbour() -> None:
    truth = np.zeros((64, 64), dtype=np.bool_)
    truth[16:32, 8:40] = True
    assert (decode_mask(encode_png(truth), 32) == truth[1::2, 1::2]).all()
    assert (decode_mask(encode_png(truth), 128) == np.kron(truth, np.ones((2, 2), dtype=np.bool_))).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "LA", "RGBA"])
def test_every_kind_of_png_is_what_pillow_reads(mode: str) -> None:
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"gAMA", (45455).to_bytes(4, "big"))
    chunks.add_text("Title", "a part")
    image = Image.fromarray(COLOUR).convert(mode)
    options: list[dict[str, object]] = [{}, {"pnginfo": chunks}, {"compress_level": 0}]
    options += [{"transparency": 0}] if mode in ("L", "P") else []
    options += [{"transparency": (1, 2, 3)}] if mode == "RGB" else []
    for option in options:
        data = _save(image, "PNG", **option)
        with Image.open(io.BytesIO(data)) as read:
            expected = np.asarray(read.convert("RGB"))
        assert (decode_rgb(data) == expected).all(), option


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_png_is_refused_wherever_it_ends(mode: str) -> None:
    data = _save(Image.fromarray(COLOUR).convert(mode))
    for length in (0, 7, 20, 40, len(data) // 2, len(data) - 200):
        with pytest.raises(BadInput, match="not a readable image"):
            decode_rgb(data[:length])
