import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from goodshot.components.data import MaskFile, category_fingerprint, encode_png, list_categories, read_dataset, verify
from goodshot.components.errors import BadInput
from tests.data import miniatures


@pytest.fixture
def root(demo: Path, tmp_path: Path) -> Path:
    """A copy of the demo's brick category that a test may break."""
    shutil.copytree(demo / "brick", tmp_path / "brick")
    return tmp_path


@pytest.mark.real
@pytest.mark.parametrize(
    ("folder", "category", "train", "good", "defective"),
    [
        ("mvtec_ad_256", "pill", 80, 26, 141),
        ("mvtec_ad_256", "bottle", 60, 20, 63),
        (".", "hazelnut_toy", 28, 6, 17),
    ],
)
def test_real_categories_are_counted(
    shared: Path, folder: str, category: str, train: int, good: int, defective: int
) -> None:
    samples = read_dataset("mvtec_ad", shared / folder, category)
    assert Counter((s.split, s.label) for s in samples) == {
        ("train", 0): train,
        ("test", 0): good,
        ("test", 1): defective,
    }
    assert all(len(s.masks) == s.label for s in samples)
    assert [s.image_id for s in samples] == sorted(s.image_id for s in samples)


@pytest.mark.real
def test_sizes_may_differ_within_a_category(shared: Path) -> None:
    assert {(s.width, s.height) for s in read_dataset("mvtec_ad", shared, "hazelnut_toy")} == {(512, 512), (512, 522)}


def test_a_sample_says_all_about_its_image(root: Path) -> None:
    by_id = {s.image_id: s for s in read_dataset("demo", root, "brick")}
    sample = by_id["test/scratch/002.png"]
    assert (sample.dataset, sample.category, sample.split) == ("demo", "brick", "test")
    assert (sample.defect_type, sample.label, sample.width, sample.height) == ("scratch", 1, 128, 128)
    assert sample.image_path == root / "brick/test/scratch/002.png"
    assert [m.path for m in sample.masks] == [root / "brick/ground_truth/scratch/002_mask.png"]


def test_fingerprint_is_the_data_and_not_the_place(root: Path, demo: Path) -> None:
    here, there = read_dataset("mvtec_ad", root, "brick"), read_dataset("demo", demo, "brick")
    assert category_fingerprint(here[::-1]) == category_fingerprint(there)
    for change in (
        {"label": 7},
        {"sha256": "0"},
        {"masks": (MaskFile(Path("m"), "0"),)},
        {"defect_type": "x"},
        {"image_id": "x"},
    ):
        changed = [replace(here[0], **change), *here[1:]]
        assert category_fingerprint(changed) != category_fingerprint(here)


def test_extensions_in_capitals_plain_mask_names_and_stray_files(root: Path) -> None:
    stray, mask = root / "brick/test/good", root / "brick/ground_truth/scratch/000_mask.png"
    before = len(read_dataset("demo", root, "brick"))
    (stray / "Thumbs.db").write_bytes(b"x")
    (stray / "._000.png").write_bytes(b"x")
    mask.rename(mask.with_name("000.PNG"))
    (root / "brick/test/scratch/000.png").rename(root / "brick/test/scratch/000.PNG")
    assert len(read_dataset("demo", root, "brick")) == before


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))


def _halve(path: Path) -> None:
    path.write_bytes(encode_png(np.zeros((64, 64), dtype=np.uint8)))


@pytest.mark.parametrize(
    ("where", "damage", "says"),
    [
        ("train/good", shutil.rmtree, "train/good: no train images"),
        ("test", shutil.rmtree, "test: no test images"),
        ("train/good/003.png", _empty, "003.png: the file is empty (0 bytes)"),
        ("test/stain/001.png", _truncate, "stain/001.png: not a readable image"),
        ("test/good/001.png", _flip, "good/001.png: not a readable image"),
        (
            "ground_truth/stain/002_mask.png",
            _halve,
            "002_mask.png: the mask is 64x64, its image 002.png is 128x128",
        ),
        ("ground_truth/stain/002_mask.png", _truncate, "002_mask.png: not a readable image"),
        ("test/missing/000.png", Path.unlink, "missing/000_mask.png: mask without image"),
        ("test/missing", shutil.rmtree, "missing/000_mask.png: mask without image"),
    ],
)
def test_a_broken_file_is_named_in_one_line(root: Path, where: str, damage, says: str) -> None:  # type: ignore[no-untyped-def]
    damage(root / "brick" / where)
    with pytest.raises(BadInput) as caught:
        read_dataset("demo", root, "brick")
    assert says in str(caught.value)
    assert str(root / "brick") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value)  # the remedy


def test_a_damaged_jpeg_is_found(root: Path) -> None:
    path = root / "brick/train/good/photo.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    read_dataset("demo", root, "brick")
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(BadInput, match=r"photo\.jpg: not a readable image"):
        read_dataset("demo", root, "brick")


def test_a_missing_folder_is_named_with_its_neighbours(demo: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nowhere: no such folder"):
        read_dataset("demo", tmp_path / "nowhere", "brick")
    with pytest.raises(BadInput, match=r"did you mean brick\? there are: brick, coin, gravel"):
        read_dataset("demo", demo, "bricks")
    with pytest.raises(BadInput, match="is a category itself"):
        read_dataset("demo", demo / "brick", "brick")
    with pytest.raises(BadInput, match="holds no category"):
        read_dataset("demo", tmp_path, "brick")


def test_a_folder_that_may_not_be_read_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = Path.iterdir

    def refuse(path: Path):  # type: ignore[no-untyped-def]  # root may read everything: the refusal is played
        if path.name == "stain":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(BadInput, match=r"stain: cannot be listed \(Permission denied\)"):
        read_dataset("demo", root, "brick")


def test_categories_are_the_folders_with_a_train_folder(demo: Path) -> None:
    assert list_categories(demo) == ("brick", "coin", "gravel")


@pytest.mark.parametrize("removed", [1, None], ids=["one", "all"])
def test_without_every_mask_there_are_no_masks_and_it_is_said(root: Path, removed: int | None) -> None:
    for path in [p for p in sorted((root / "brick/ground_truth").rglob("*")) if p.is_file()][:removed]:
        path.unlink()
    report = verify("demo", root, ["brick"])
    assert not any(sample.masks for sample in report.samples)
    assert {sample.label for sample in report.samples} == {0, 1}
    (finding,) = report.findings
    assert finding.kind == "noted"
    assert "there are no pixel metrics; add " in str(finding)
    assert read_dataset("demo", root, "brick") == list(report.samples)


@pytest.mark.parametrize("split", ["train", "test"])
def test_images_beside_the_folders_of_a_split_are_named(tmp_path: Path, split: str) -> None:
    miniatures.photo(tmp_path / "bottle/train/good/0.png", 0)
    miniatures.photo(tmp_path / "bottle/test/good/0.png", 1)
    miniatures.photo(tmp_path / f"bottle/{split}/loose.png", 2)
    found = [f for f in verify("mvtec_ad", tmp_path).findings if f.path.name == "loose.png"]
    assert [f.kind for f in found] == ["unexpected"]
