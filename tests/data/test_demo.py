import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from goodshot.components.data import (
    DEMO_CATEGORIES,
    PLANTERS,
    decode_mask,
    decode_rgb,
    photographs,
    read_dataset,
    write_demo,
)
from goodshot.components.data.datasets.demo import RECIPE_VERSION, plant, shots
from goodshot.components.errors import BadInput


def _digest(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.parametrize("category", DEMO_CATEGORIES)
def test_scan_reads_what_was_written(demo: Path, category: str) -> None:
    samples = read_dataset("demo", demo, category)
    assert Counter((s.split, s.defect_type) for s in samples) == {
        ("train", "good"): 16,
        ("test", "good"): 12,
        **{("test", kind): 4 for kind in PLANTERS},
    }
    assert {(s.width, s.height) for s in samples} == {(128, 128)}
    assert len({s.sha256 for s in samples}) == len(samples)


def test_the_same_seed_gives_the_same_bytes(demo: Path, tmp_path: Path) -> None:
    assert _digest(write_demo(tmp_path / "again")) == _digest(demo)
    assert list(tmp_path.iterdir()) == [tmp_path / "again"]
    other = _digest(write_demo(tmp_path / "other", seed=1))
    assert other["coin/test/good/000.png"] != _digest(demo)["coin/test/good/000.png"]


# Raise RECIPE_VERSION when these move. Tolerances: a resampler may round differently on another machine.
@pytest.mark.parametrize(
    ("category", "brightness", "marked"),
    [("brick", 110.53, 5662), ("coin", 85.86, 4868), ("gravel", 124.53, 6199)],
)
def test_recipe_1_never_changes(demo: Path, category: str, brightness: float, marked: int) -> None:
    assert RECIPE_VERSION == 1
    samples = read_dataset("demo", demo, category)
    pixels = np.stack([decode_rgb(s.image_path.read_bytes()) for s in samples])
    masks = [decode_mask(s.masks[0].path.read_bytes()) for s in samples if s.masks]
    assert pixels.mean() == pytest.approx(brightness, abs=0.05)
    assert sum(int(m.sum()) for m in masks) == pytest.approx(marked, abs=30)


def test_a_complete_demo_is_left_alone_and_nothing_else_is_overwritten(demo: Path, tmp_path: Path) -> None:
    before = (demo / "recipe.json").stat().st_mtime_ns
    assert write_demo(demo) == demo
    assert (demo / "recipe.json").stat().st_mtime_ns == before
    with pytest.raises(BadInput, match="is not this demo"):
        write_demo(demo, seed=5)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match="is not this demo"):
        write_demo(tmp_path)


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("goodshot.components.data.datasets.demo.encode_png", full_disk)
    with pytest.raises(BadInput, match="No space left on device"):
        write_demo(tmp_path / "set")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("category", ["brick", "gravel"])
def test_train_and_test_share_no_pixel_of_a_texture(category: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def images(split: str) -> np.ndarray:  # type: ignore[type-arg]
        rng = np.random.default_rng(0)
        return np.stack([shot.image for shot in shots(category, split, 40, rng)])  # type: ignore[arg-type]

    train, test = images("train"), images("test")
    top, left, bottom, right = photographs.region(category, "test")
    blanked = photographs.photograph(category).copy()
    blanked[top:bottom, left:right] = 0
    monkeypatch.setattr(photographs, "photograph", lambda _: blanked)
    assert (images("train") == train).all()
    assert not images("test").any() or images("test").max() < test.mean()


def test_train_and_test_share_no_coin() -> None:
    train, test = photographs.coins_of("train"), photographs.coins_of("test")
    assert not set(train) & set(test)
    assert len(train) == len(test) == 11


@pytest.mark.parametrize("kind", PLANTERS)
@pytest.mark.parametrize("category", DEMO_CATEGORIES)
def test_masks_are_exactly_the_changed_pixels(category: str, kind: str) -> None:
    rng = np.random.default_rng(7)
    for shot in shots(category, "test", 6, rng):
        before = shot.image.copy()
        defective, mask = plant(kind, shot, rng)
        assert (mask == (defective != shot.image).any(axis=2)).all()
        assert (shot.image == before).all()
        assert 10 < mask.sum() < 0.2 * mask.size
        if shot.scene.product is not None and kind != "foreign":
            assert not (mask & ~shot.scene.product).any()


def test_written_masks_mark_what_can_be_seen(demo: Path) -> None:
    for sample in (s for s in read_dataset("demo", demo, "gravel") if s.masks):
        assert set(np.unique(decode_rgb(sample.masks[0].path.read_bytes()))) == {0, 255}
        assert decode_mask(sample.masks[0].path.read_bytes()).any()


@pytest.mark.parametrize("kind", PLANTERS)
def test_defects_scale_to_any_users_image(kind: str) -> None:
    image = photographs.donors()[1][:240, :400]
    defective, mask = PLANTERS[kind](image, np.random.default_rng(1))
    assert (mask == (defective != image).any(axis=2)).all()
    assert 0.0005 < mask.mean() < 0.2


def test_the_room_stays_light() -> None:
    heavy = "print([m for m in ('torch', 'skimage', 'scipy', 'ray') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, goodshot.components.data; {heavy}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
