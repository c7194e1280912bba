"""Masks as people store them: whatever the file is, the same pixels are marked, and an unusual one says how."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from goodshot.components.data import Sample, category_fingerprint, decode_mask, encode_png, read_split, write_split
from goodshot.components.data.checking import Checks, check
from goodshot.components.data.datasets import dataset_of
from goodshot.components.data.depth import turned
from goodshot.components.data.images import read_mask
from goodshot.components.data.layout import Finding
from goodshot.components.data.masks import resized
from goodshot.components.errors import BadInput
from tests.data import miniatures

TRUTH = np.zeros((48, 64), np.bool_)
TRUTH[10:30, 20:50] = True
BITS = TRUTH.astype(np.uint8)
RIGHT = np.arange(64) >= 35
"""The right part of the defect, drawn with another value or colour."""


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def ids() -> Image.Image:
    return Image.fromarray(np.where(TRUTH & RIGHT, 100, BITS * 255).astype(np.uint8))


def coloured(left: tuple[int, int, int], right: tuple[int, int, int]) -> np.ndarray:
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[TRUTH], pixels[TRUTH & RIGHT] = left, right
    return pixels


def with_alpha(colour: int) -> Image.Image:
    return Image.fromarray(np.dstack([np.full((48, 64, 3), colour, np.uint8), BITS * 255]))


def palette() -> Image.Image:
    image = Image.fromarray(np.where(TRUTH & RIGHT, 2, BITS).astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 0, 128])
    return image


def empty_palette() -> Image.Image:
    image = Image.fromarray(BITS * 3, "P")
    image.putpalette([0, 0, 0] * 4)
    return image


ONCE_LOSSY = Image.open(io.BytesIO(saved(Image.fromarray(BITS * 255), "JPEG", quality=80)))

USUAL: dict[str, bytes] = {
    "0 and 255": encode_png(TRUTH),
    "0 and 1": encode_png(BITS),
    "one bit": saved(Image.fromarray(TRUTH)),
    "grey in three channels": encode_png(np.repeat(BITS[..., None] * 255, 3, axis=2).astype(np.uint8)),
    "16 bits": saved(Image.fromarray(BITS.astype(np.uint16) * 65535)),
    "jpeg": saved(Image.fromarray(BITS * 255), "JPEG", quality=90),
    "opaque alpha": saved(Image.fromarray(BITS * 255).convert("RGBA")),
}
ON_BLACK = np.dstack([np.repeat(BITS[..., None] * 255, 3, axis=2), np.where(TRUTH, 128, 255)]).astype(np.uint8)
UNUSUAL: dict[str, tuple[bytes, str | None]] = {
    "two ids": (saved(ids()), "any"),
    "one id": (encode_png((BITS * 100).astype(np.uint8)), "any"),
    "16 bits of 255": (saved(Image.fromarray(BITS.astype(np.uint16) * 255)), "any"),
    "32 bits of 255": (saved(Image.fromarray(BITS.astype(np.int32) * 255), "TIFF"), "any"),
    "float": (saved(Image.fromarray(BITS.astype(np.float32) * 255), "TIFF"), "any"),
    "green and red": (encode_png(coloured((0, 255, 0), (255, 0, 0))), "colour"),
    "dark blue": (encode_png(coloured((0, 0, 60), (0, 0, 60))), "colour"),
    "alpha over white": (saved(with_alpha(255)), "alpha"),
    "alpha over black": (saved(with_alpha(0)), "alpha"),
    "alpha and grey": (saved(Image.merge("LA", [Image.fromarray(BITS * 0), Image.fromarray(BITS * 255)])), "alpha"),
    "webp alpha": (saved(with_alpha(255), "WEBP", lossless=True), None),
    "palette": (saved(palette()), "colour"),
    "palette in gif": (saved(palette(), "GIF"), "colour"),
    "unfilled palette": (saved(empty_palette()), "index"),
    "background of 40": (encode_png(np.where(TRUTH, 200, 40).astype(np.uint8)), None),
    "dark background": (encode_png(np.where(TRUTH, 90, 40).astype(np.uint8)), "darkest"),
    "half transparent on black": (saved(Image.fromarray(ON_BLACK)), None),
    "16-bit colours": (bytes(imagecodecs.png_encode(coloured((0, 200, 0), (60, 0, 0)).astype(np.uint16))), "any"),
    "red on white": (encode_png(np.where(TRUTH[..., None], (255, 0, 0), 255).astype(np.uint8)), "colour"),
    "same pixels in three levels": (encode_png(np.where(TRUTH & RIGHT, 200, BITS * 255).astype(np.uint8)), None),
    "webp with exif": (saved(Image.fromarray(BITS * 255), "WEBP", quality=60, exif=Image.Exif().tobytes()), "half"),
    "dark jpeg": (saved(Image.fromarray(BITS * 90), "JPEG", quality=95), "half"),
}
"""Files that earlier versions refused or read in another way, with the rule by which they are read."""


@pytest.mark.parametrize("name", USUAL)
def test_usual_masks_are_read_as_always(name: str) -> None:
    found = read_mask(USUAL[name])
    assert found.rule is None
    wrong = (found.marked != TRUTH).sum()
    assert wrong == 0 or (name == "jpeg" and wrong < 30)


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_masks_mark_what_was_drawn(name: str) -> None:
    data, rule = UNUSUAL[name]
    found = read_mask(data)
    assert found.rule == rule or name == "webp with exif"
    wrong = (found.marked != TRUTH).sum()
    assert wrong == 0 or (("jpeg" in name or "webp with" in name) and wrong < 60)


def test_black_and_white_that_a_jpeg_once_held_is_split_in_the_middle() -> None:
    found = read_mask(saved(ONCE_LOSSY))
    assert "those above" in found.note
    assert found.rule is None
    assert (found.marked != TRUTH).sum() < 30


def test_classes_beside_a_void_of_255_are_no_compression() -> None:
    classes = np.zeros((48, 64), np.uint8)
    classes[:42, :10] = np.arange(42)[:, None] // 2
    classes[:, 60:] = 255
    assert (read_mask(encode_png(classes)).marked == (classes > 0)).all()


def test_every_value_of_a_soft_edge_is_marked() -> None:
    soft = np.asarray(Image.fromarray(BITS * 255).resize((32, 24), Image.Resampling.BILINEAR))
    found = read_mask(encode_png(soft))
    assert (found.marked == (soft > 0)).all()
    assert "grey levels: all above 0 are marked" in found.note


def test_a_blank_mask_marks_nothing() -> None:
    assert not read_mask(encode_png(BITS * 0)).marked.any()


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_values_that_cannot_be_a_mask_are_refused(value: float) -> None:
    pixels = BITS.astype(np.float32)
    pixels[0, 0] = value
    with pytest.raises(BadInput, match="the mask holds values"):
        read_mask(saved(Image.fromarray(pixels), "TIFF"))


def scanned(root: Path) -> tuple[list[Sample], list[Finding]]:
    report = check(dataset_of("folder").list_category(root, "bolt"), "folder", "bolt")
    return list(report.samples), list(report.findings)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    miniatures.own(tmp_path / "bolt", good=6, bad=2, masked=True)
    return tmp_path


def masks(root: Path) -> list[Path]:
    return sorted(p for p in (root / "bolt/masks").rglob("*") if p.is_file())


def redrawn(path: Path, draw: Callable[[np.ndarray], np.ndarray]) -> None:
    Image.fromarray(draw(np.asarray(Image.open(path).convert("L")))).save(path)


def test_a_study_is_told_how_masks_were_read_and_which_are_blank(root: Path) -> None:
    assert not scanned(root)[1]
    first, second, *_ = masks(root)
    redrawn(first, lambda m: np.where(np.arange(m.shape[1]) > 2, m // 2, m).astype(np.uint8))
    redrawn(second, lambda m: m * 0)
    samples, findings = scanned(root)
    assert [f.kind for f in findings] == ["noted", "unmarked"]
    assert len(samples) == 8
    text = " ".join(map(str, findings))
    assert "nothing is marked in its mask, so its pixels count as normal" in text


def test_an_unusual_mask_changes_the_identity_and_its_shard_is_plain(root: Path, tmp_path: Path) -> None:
    redrawn(masks(root)[0], lambda m: (m > 0).astype(np.uint8) * 100)
    samples, _ = scanned(root)
    (unusual,) = [m for s in samples for m in s.masks if m.rule]
    assert unusual.rule == "any"
    usual = [replace(s, masks=tuple(replace(m, rule=None) for m in s.masks)) for s in samples]
    assert category_fingerprint(samples) != category_fingerprint(usual)
    with pa.OSFile(str(tmp_path / "test.arrow"), "wb") as sink:
        write_split(samples, "test", sink)
    stored = read_split(tmp_path / "test.arrow")
    files = {i: m for i, m in zip(stored["image_id"].to_pylist(), stored["masks"].to_pylist(), strict=True) if m}
    for sample in samples:
        for mask in sample.masks:
            expected = decode_mask(mask.path.read_bytes())
            assert (decode_mask(files[sample.image_id][0]) == expected).all()
            assert read_mask(files[sample.image_id][0]).rule is None


@given(height=st.integers(1, 300), width=st.integers(1, 300), side=st.integers(1, 64), seed=st.integers(0, 99))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_resizing_keeps_every_defect(height: int, width: int, side: int, seed: int) -> None:
    marked = np.zeros((height, width), bool)
    row, column = np.random.default_rng(seed).integers((height, width))
    marked[row, column] = True
    small = resized(marked, side)
    assert small.shape == (side, side)
    assert small.any()
    by_nearest = np.asarray(Image.fromarray(marked).resize((side, side), Image.Resampling.NEAREST))
    if by_nearest.any():
        assert (small == by_nearest).all()
    else:
        touched = {int(row * side / height), int(np.ceil((row + 1) * side / height)) - 1}
        assert set(np.flatnonzero(small.any(axis=1))) <= set(range(min(touched), max(touched) + 1))
    assert not resized(np.zeros((height, width), bool), side).any()


def test_a_scratch_that_nearest_neighbour_loses_is_counted_at_that_side_alone(root: Path) -> None:
    def scratch(mask: np.ndarray) -> np.ndarray:
        fine = np.zeros_like(mask)
        fine[1, 1:4] = 255
        return fine

    redrawn(masks(root)[0], scratch)
    listing = dataset_of("folder").list_category(root, "bolt")
    side = min(Image.open(masks(root)[0]).size)
    report = check(listing, "folder", "bolt", Checks((4, side)))
    assert report.enlarged == {4}
    assert [str(f) for f in report.findings if "too fine for 4x4 pixels" in f.problem]
    assert not check(listing, "folder", "bolt").enlarged
    marked = decode_mask(masks(root)[0].read_bytes(), 4)
    assert marked[0].any()
    assert not marked[2:].any()


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("is_upright", [True, False])
def test_a_mask_that_was_drawn_on_stored_pixels_is_turned_with_its_photograph(
    root: Path, orientation: int, is_upright: bool
) -> None:
    path = masks(root)[0]
    (image,) = (root / "bolt/bad").rglob(f"{path.stem}.*")
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.open(image).convert("RGB").crop((0, 0, 20, 12)).save(image, exif=exif)
    drawn = np.zeros((12, 20), np.uint8)
    drawn[2:5, 3:10] = 255
    upright = turned(drawn, orientation) > 0
    Image.fromarray((upright * 255).astype(np.uint8) if is_upright else drawn).save(path)
    samples, findings = scanned(root)
    (sample,) = [s for s in samples if s.image_path == image]
    (mask,) = sample.masks
    assert (sample.width, sample.height) == (12, 20)
    assert (decode_mask(path.read_bytes(), orientation=mask.orientation) == upright).all()
    assert [f.kind for f in findings] == ["noted"] * (not is_upright)
    sink = root / "test.arrow"
    with pa.OSFile(str(sink), "wb") as out:
        write_split(samples, "test", out)
    stored = read_split(sink, image_ids=[sample.image_id])
    assert (decode_mask(stored["masks"].to_pylist()[0][0]) == upright).all()


def test_where_sizes_cannot_tell_whether_a_mask_is_turned_it_is_said(root: Path) -> None:
    path = masks(root)[0]
    (image,) = (root / "bolt/bad").rglob(f"{path.stem}.*")
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(image).convert("RGB").save(image, exif=exif)
    _, (finding,) = scanned(root)
    assert finding.path == path
    assert f"is read as it is stored, but {image.name} is turned by its EXIF tag (orientation 3)" in finding.problem
    Image.open(path).save(path, exif=exif)
    assert not scanned(root)[1]
