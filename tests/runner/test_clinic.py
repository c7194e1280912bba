"""``goodshot check``: what was read of a folder, in the terminal and as a page."""

from __future__ import annotations

import base64
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from goodshot.components.data.reading import verify
from goodshot.runner.cli import main
from goodshot.runner.data.clinic import layout_of
from tests.data import miniatures


def checked(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit status of ``goodshot check``, and what it printed."""
    status = main(["check", *arguments])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


@pytest.fixture
def bolt(tmp_path: Path) -> Path:
    return miniatures.own(tmp_path / "parts/bolt", good=6, bad=2, masked=True)


def test_a_folder_is_recognised_by_its_layout(tmp_path: Path, bolt: Path) -> None:
    (tmp_path / "ad/bottle/train/good").mkdir(parents=True)
    miniatures.btad(tmp_path / "bt")
    miniatures.loco(tmp_path / "lo")

    def named(folder: Path) -> tuple[str, Path, tuple[str, ...]]:
        dataset, root, names = layout_of(folder)
        return dataset.name if dataset else "", root, names

    assert named(tmp_path / "ad") == named(tmp_path / "ad/bottle") == ("mvtec_ad", tmp_path / "ad", ("bottle",))
    assert named(tmp_path / "bt")[0] == "btad"
    assert named(tmp_path / "lo")[0] == "mvtec_loco"
    assert named(bolt) == ("folder", bolt, ("bolt",))
    assert named(bolt.parent) == ("folder", bolt.parent, ("bolt",))
    assert named(bolt / "good")[0] == ""
    shutil.copytree(tmp_path / "ad", tmp_path / "deep/deep")
    assert named(tmp_path / "deep")[2] == ("bottle",)


def test_what_was_read_is_said_with_the_readers_findings(bolt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, *_ = sorted((bolt / "good").iterdir())
    shutil.copy(first, bolt / "bad/scratch/0.png")
    Image.open(second).convert("L").save(second)
    (bolt / "good/notes.txt").write_text("lot 7")
    status, text = checked(str(bolt), capsys=capsys)
    assert status == 0
    assert "bolt (folder): 8 images" in text
    assert re.search(r"^  test +2 good, 1 bad, 1 scratch$", text, re.MULTILINE)
    assert re.search(r"^  files +7 PNG colour, 8 bits; 1 PNG grey, 8 bits$", text, re.MULTILINE)
    assert re.search(r"^  masks +2, marking [\d.]+ % to [\d.]+ % of the pixels", text, re.MULTILINE)
    assert f"copies     bad/scratch/0.png = good/{first.name}" in text or f"good/{first.name} = bad" in text
    for finding in verify("folder", bolt.parent).findings:
        assert f"{finding.kind}: {finding}" in text
    assert checked(str(bolt), "--strict", capsys=capsys)[0] == 2


def test_nothing_unusual_is_no_finding_even_if_strict(bolt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = checked(str(bolt), "--strict", capsys=capsys)
    assert (status, text.splitlines()[-1]) == (0, "no findings")


def test_masks_too_fine_for_the_detector_are_counted(bolt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = next((bolt / "masks/scratch").iterdir())
    pixels = np.zeros_like(np.asarray(Image.open(mask).convert("L")))
    pixels[1, 1:] = 255
    Image.fromarray(pixels).save(mask)
    assert "1 too fine for 8x8" in checked(str(bolt), "--size", "8", capsys=capsys)[1]
    assert "too fine" not in checked(str(bolt), "--size", "256", capsys=capsys)[1]


def test_the_page_shows_photographs_with_their_masks(
    bolt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "new/check.html"
    status, text = checked(str(bolt), "--html", str(page), capsys=capsys)
    assert status == 0
    assert f"page: {page}" in text
    html = page.read_text()
    assert "What was read of" in html
    pictures = dict(re.findall(r'<img src="data:image/webp;base64,([^"]+)" alt="([^"]+)"', html))
    assert len(pictures) == 8

    (data,) = [encoded for encoded, name in pictures.items() if name == "bad/scratch/0.png"]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)
    below_the_mask = pixels[5:7, 0:5].mean(axis=(0, 1))
    assert np.abs(below_the_mask - (255, 59, 48)).max() < 60


def test_photographs_without_folders_and_wrong_folders(
    bolt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = checked(str(bolt / "good"), capsys=capsys)[1]
    assert "good (photographs without folders): 6 images" in text
    assert text.splitlines()[-1] == "no findings; no test images: good can be learned from, and not measured"
    for folder, problem in ((tmp_path / "none", "no such folder"), (bolt / "masks/..", "")):
        status, text = checked(str(folder), capsys=capsys)
        assert (status == 2) == bool(problem)
        assert problem in text
    for where in (bolt, bolt / "good"):
        status, text = checked(str(where), "--category", "nut", capsys=capsys)
        assert (status, "no such category" in text) == (2, True)
    (tmp_path / "empty").mkdir()
    status, text = checked(str(tmp_path / "empty"), capsys=capsys)
    assert status == 2
    assert len(text.strip().splitlines()) == 1
    assert "name the dataset with --dataset" in text
