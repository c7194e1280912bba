"""Masks as people store them: whatever the file is, the same pixels are marked, and an unusual one says how."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from goodshot.components.data import Sample, category_fingerprint, decode_mask, encode_png, read_split, write_split
from goodshot.components.data.checking import check
from goodshot.components.data.datasets import dataset_of
from goodshot.components.data.images import read_mask
from goodshot.components.data.layout import Finding
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
    return check(dataset_of("folder").list_category(root, "bolt"), "folder", "bolt")


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
    assert [f.kind for f in findings] == ["noted", "noted"]
    assert len(samples) == 8
    text = " ".join(map(str, findings))
    assert "nothing is marked in its mask, so its pixels count as normal" in text


def test_an_unusual_mask_changes_the_identity_and_its_shard_is_plain(root: Path, tmp_path: Path) -> None:
    import pyarrow as pa

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
