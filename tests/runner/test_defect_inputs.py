"""Wrong masks, captions and counts of a study of defects: one line, exit code 2, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from goodshot.runner.cli import main
from tests.data import miniatures

IMAGES = 6
"""Of each defect type; a third of them is learned from."""


@pytest.fixture
def product(tmp_path: Path) -> Path:
    """A category in MVTec AD's layout, with a caption for each defective image."""
    folder = tmp_path / "data" / "screw"
    for i in range(3):
        miniatures.photo(folder / f"train/good/{i:03d}.png", i)
        miniatures.photo(folder / f"test/good/{i:03d}.png", 10 + i)
    for n, kind in enumerate(("broken", "scratch")):
        for i in range(IMAGES):
            miniatures.photo(folder / f"test/{kind}/{i:03d}.png", 20 + 10 * n + i)
            miniatures.mask(folder / f"ground_truth/{kind}/{i:03d}_mask.png", (slice(4, 20 + n), slice(i, 12)))
            caption = tmp_path / "captions" / "screw" / "prompt" / kind / f"{i:03d}.txt"
            caption.parent.mkdir(parents=True, exist_ok=True)
            caption.write_text(f"a screw that is {kind}\n")
    return folder


def mask_of(product: Path, kind: str = "broken", i: int = 0) -> Path:
    return product / f"ground_truth/{kind}/{i:03d}_mask.png"


def caption_of(product: Path, name: str) -> Path:
    return product.parent.parent / "captions" / "screw" / "prompt" / name


def other_size(product: Path) -> None:
    Image.fromarray(np.full((20, 20), 255, np.uint8)).save(mask_of(product))


def empty(product: Path) -> None:
    Image.fromarray(np.zeros((miniatures.SIDE, miniatures.SIDE), np.uint8)).save(mask_of(product))


def without_image(product: Path) -> None:
    mask_of(product, i=9).write_bytes(mask_of(product).read_bytes())


def without_mask(product: Path) -> None:
    mask_of(product).unlink()


def one_image(product: Path) -> None:
    for i in range(1, IMAGES):
        (product / f"test/scratch/{i:03d}.png").unlink()
        mask_of(product, "scratch", i).unlink()


def blank_caption(product: Path) -> None:
    caption_of(product, "broken/001.txt").write_text(" \n")


def no_utf8(product: Path) -> None:
    caption_of(product, "broken/001.txt").write_bytes(b"a scr\xffew")


def of_nothing(product: Path) -> None:
    caption_of(product, "broken/077.txt").write_text("a screw that is not there\n")


def unchanged(product: Path) -> None:
    """The settings are what is wrong."""


@pytest.mark.parametrize(
    ("spoil", "given", "words"),
    [
        (other_size, [], ("broken/000_mask.png", "20x20", "48x48")),
        (empty, [], ("test/broken/000.png", "nothing is marked in its mask")),
        (without_image, [], ("broken/009_mask.png", "mask without image")),
        (without_mask, [], ("test/broken/000.png", "no mask")),
        (one_image, [], ("scratch", "leave_out")),
        (blank_caption, [], ("broken/001.txt", "empty")),
        (no_utf8, [], ("broken/001.txt", "UTF-8")),
        (of_nothing, [], ("broken/077.txt", "caption of a missing image")),
        (unchanged, ["copies=0"], ("copies", "0")),
        (unchanged, ["arms=[fusion]", "synthesis.fusion.base=path:/no/such"], ("/no/such", "no such file")),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_mistake_is_one_line_and_writes_nothing(
    spoil: Callable[[Path], None],
    given: list[str],
    words: tuple[str, ...],
    product: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(product)
    study = tmp_path / "study.yaml"
    study.write_text(
        "{name: screws, shots: full, arms: [crop_paste], cells: [segmentation], copies: [2], "
        f"dataset: {{name: mvtec_ad, root: {product.parent}}}, categories: [screw], "
        f"synthesis: {{captions: {tmp_path / 'captions'}}}}}"
    )
    out = tmp_path / "out"
    settings = [word for value in given for word in ("--set", value)]
    assert main(["sweep", str(study), "--local", "--out", str(out), *settings]) == 2
    told = capsys.readouterr().err.strip()
    assert all(word in told for word in words), told
    assert len(told.splitlines()) == 1, told
    assert not out.exists()
