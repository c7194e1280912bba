"""Photographs deeper than 8 bits: they are scaled by the range that their category uses, in every format."""

from __future__ import annotations

import io
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from goodshot.components.data import Sample, category_fingerprint, decode_rgb, read_split, write_split
from goodshot.components.data.checking import check
from goodshot.components.data.datasets import dataset_of
from goodshot.components.data.depth import turned, white_of
from goodshot.components.data.images import check_image
from goodshot.components.data.layout import Finding
from goodshot.components.data.photographs import photograph
from goodshot.components.data.supplied import read_supplied
from goodshot.components.errors import BadInput

GREY = photograph("brick")[:40, :56]
COLOUR = np.dstack([GREY, photograph("gravel")[:40, :56], photograph("brick")[60:100, :56]])


def png(values: np.ndarray) -> bytes:
    return bytes(imagecodecs.png_encode(values))


def tiff(values: np.ndarray) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, values)
    return out.getvalue()


def jpeg2000(values: np.ndarray) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(values, level=0))


@pytest.mark.parametrize(("bits", "white"), [(8, 255), (10, 1023), (12, 4095), (14, 16383)])
@pytest.mark.parametrize("encode", [png, tiff, jpeg2000])
@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_every_depth_has_the_pixels_of_eight_bits(bits: int, white: int, encode, pixels: np.ndarray) -> None:  # type: ignore[no-untyped-def]
    deep = np.rint(pixels.astype(np.float64) * white / 255).astype(np.uint16)
    data = encode(deep)
    facts = check_image(data)
    assert facts.brightest == deep.max()
    assert white_of([facts.brightest, None]) == white
    expected = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    assert (decode_rgb(data, white=white) == expected).all()


def test_eight_bits_in_32_are_no_black_picture() -> None:
    data = tiff(GREY.astype(np.int32))
    assert white_of([check_image(data).brightest]) == 255
    assert (decode_rgb(data, white=255) == GREY[..., None]).all()


def test_sixteen_bits_are_read_as_always() -> None:
    data = png(GREY.astype(np.uint16) * 257)
    assert white_of([check_image(data).brightest]) is None
    assert (decode_rgb(data) == GREY[..., None]).all()
    assert white_of([None, None]) is None


@given(
    orientation=st.integers(1, 8),
    is_colour=st.booleans(),
    kind=st.sampled_from(["PNG", "TIFF"]),
    bits=st.sampled_from([10, 12, 14, 16]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
)
@settings(max_examples=150, deadline=None)
def test_deep_pixels_are_turned_as_shallow_ones(
    orientation: int, is_colour: bool, kind: str, bits: int, height: int, width: int
) -> None:
    shape = (height, width, 3) if is_colour else (height, width)
    values = np.random.default_rng(height * width).integers(0, 2**bits, shape, dtype=np.uint16)
    values.flat[0] = 2**bits - 1
    if kind == "TIFF":
        out = io.BytesIO()
        tifffile.imwrite(out, values, extratags=[(0x0112, "H", 1, orientation, True)])
        data = out.getvalue()
    else:
        data = _with_exif(png(values), orientation)
    white = white_of([check_image(data).brightest]) or 65535
    expected = np.clip(np.rint(turned(values, orientation).astype(np.float64) * 255 / white), 0, 255).astype(np.uint8)
    if not is_colour:
        expected = np.repeat(expected[..., None], 3, axis=2)
    found = decode_rgb(data, white=white)
    assert found.shape == expected.shape
    assert (found == expected).all()
    facts = check_image(data)
    assert (facts.height, facts.width) == expected.shape[:2]


def _with_exif(data: bytes, orientation: int) -> bytes:
    """A PNG with an eXIf chunk after its header."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = b"eXIf" + body
    import zlib

    return data[:33] + len(body).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big") + data[33:]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_is_pillows(orientation: int) -> None:
    from PIL import ImageOps

    image = Image.fromarray(GREY)
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    image.save(out, "PNG", exif=exif)
    assert (turned(GREY, orientation) == np.asarray(ImageOps.exif_transpose(Image.open(out)))).all()


def scanned(root: Path) -> tuple[list[Sample], list[Finding]]:
    report = check(dataset_of("folder").list_category(root, "bolt"), "folder", "bolt")
    return list(report.samples), list(report.findings)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Photographs of 12 bits; the brightest is one of the test's."""
    for place, count, brightest in (("good", 6, 900), ("bad", 2, 4000)):
        folder = tmp_path / "bolt" / place
        folder.mkdir(parents=True)
        for i in range(count):
            values = photograph("brick")[i * 20 : i * 20 + 40, :56].astype(np.float64)
            (folder / f"{i}.png").write_bytes(png(np.rint(values / values.max() * brightest).astype(np.uint16)))
    return tmp_path


def test_a_category_has_one_white_and_says_so(root: Path, tmp_path: Path) -> None:
    import pyarrow as pa

    samples, findings = scanned(root)
    assert {s.white for s in samples} == {4095}
    (finding,) = findings
    assert finding.kind == "noted"
    assert "8 photographs of more than 8 bits hold values up to 4000: 4095 is white" in str(finding)
    with pa.OSFile(str(tmp_path / "train.arrow"), "wb") as sink:
        stored = write_split(samples, "train", sink)
    assert {s.white for s in stored} == {None}
    table = read_split(tmp_path / "train.arrow")
    for image_id, image in zip(table["image_id"].to_pylist(), table["image"].to_pylist(), strict=True):
        original = next(s for s in samples if s.image_id == image_id)
        assert (decode_rgb(image) == decode_rgb(original.image_path.read_bytes(), white=4095)).all()


def test_another_white_is_another_identity(root: Path) -> None:
    before, _ = scanned(root)
    (root / "bolt/bad/1.png").write_bytes(png(np.full((40, 56), 9000, np.uint16)))
    after, _ = scanned(root)
    assert {s.white for s in after} == {16383}
    train = [[s for s in samples if s.split == "train"] for samples in (before, after)]
    assert [s.sha256 for s in train[0]] == [s.sha256 for s in train[1]]
    assert category_fingerprint(train[0]) != category_fingerprint(train[1])


def test_supplied_images_have_one_white_too(root: Path) -> None:
    images = read_supplied(root / "bolt/bad", 2)
    assert {i.white for i in images} == {4095}
    assert images[0].decode().max() == round(4000 * 255 / 4095)


def test_planar_colours_are_read_as_others() -> None:
    values = (COLOUR.astype(np.uint16) * 16)[:, :50]
    out = io.BytesIO()
    tifffile.imwrite(out, np.moveaxis(values, -1, 0), photometric="rgb", planarconfig="separate")
    data = out.getvalue()
    assert white_of([check_image(data).brightest]) == 4095
    assert (decode_rgb(data, white=4095) == np.rint(values * (255 / 4095))).all()


@pytest.mark.parametrize("value", [0.5, np.inf])
def test_floating_point_is_refused_when_it_is_looked_at(value: float) -> None:
    with pytest.raises(BadInput, match="floating-point pixels have no known range"):
        check_image(tiff(np.full((8, 8), value, np.float32)))


def test_an_orientation_that_exif_does_not_know_turns_nothing() -> None:
    data = _with_exif(png(GREY), 9)
    assert check_image(data).orientation == 1
    assert (decode_rgb(data) == GREY[..., None]).all()


@pytest.mark.parametrize("is_anew", [True, False])
def test_a_file_that_earlier_versions_read_wrong_has_another_identity(tmp_path: Path, is_anew: bool) -> None:
    path = tmp_path / "bolt/good/0.tif"
    path.parent.mkdir(parents=True)
    values = GREY.astype(np.uint16) * 257
    tifffile.imwrite(path, values, photometric="miniswhite" if is_anew else "minisblack")
    (sample,) = check(dataset_of("folder").list_category(tmp_path, "bolt"), "folder", "bolt").samples
    (supplied,) = read_supplied(path.parent, 1)
    assert sample.content == supplied.content
    assert (sample.content != sample.sha256) == is_anew
    pixels = decode_rgb(path.read_bytes(), white=sample.white)
    assert (pixels[..., 0] == (255 - GREY if is_anew else GREY)).all()
