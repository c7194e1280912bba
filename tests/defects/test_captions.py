"""Captions: MVTec Caption's files, sentences from names where there are none, and one line for each bad file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from goodshot.components.data import Sample, read_dataset
from goodshot.components.defects.captions import check_captions, default_caption, read_captions
from goodshot.components.errors import BadInput


@pytest.fixture(scope="module")
def coins(photographs: Path) -> list[Sample]:
    return read_dataset("demo", photographs, "coin")


@pytest.fixture
def root(tmp_path: Path, coins: list[Sample]) -> Path:
    for sample in coins:
        if sample.label:
            path = tmp_path / "coin" / "prompt" / sample.defect_type / f"{Path(sample.image_id).stem}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"The coin has a {sample.defect_type}.\n")
    return tmp_path


def test_the_papers_form_of_a_default_caption() -> None:
    assert default_caption("pill", "faulty_imprint") == "pill with faulty imprint"
    assert default_caption("juice_bottle", "logical_anomalies") == "juice bottle with logical anomalies"


def test_every_defective_image_has_its_sentence(root: Path, coins: list[Sample]) -> None:
    captions = read_captions(root, "coin", coins, "coin")
    assert captions.sentences["test/stain/002.png"] == "The coin has a stain."
    assert {*captions.sentences} == {s.image_id for s in coins if s.label}
    assert (captions.made, captions.findings) == (frozenset(), ())


def test_the_root_may_be_the_datasets_own_folder(photographs: Path, root: Path, coins: list[Sample]) -> None:
    both = root / "dataset"
    shutil.copytree(photographs / "coin", both / "coin")
    shutil.copytree(root / "coin" / "prompt", both / "coin" / "prompt")
    read = read_captions(both, "coin", read_dataset("demo", both, "coin"), "coin")
    assert read == read_captions(root, "coin", coins, "coin")


def test_without_files_sentences_are_made_and_counted(coins: list[Sample], tmp_path: Path) -> None:
    captions = read_captions(None, "coin", coins, "old_coin")
    assert captions.sentences["test/foreign/000.png"] == "old coin with foreign"
    assert captions.made == {*captions.sentences}
    noted = read_captions(tmp_path, "coin", coins, "old_coin")
    assert noted.sentences == captions.sentences
    assert [finding.kind for finding in noted.findings] == ["noted"]


def test_a_missing_caption_is_noted_and_made(root: Path, coins: list[Sample]) -> None:
    (root / "coin" / "prompt" / "stain" / "001.txt").unlink()
    captions = read_captions(root, "coin", coins, "coin")
    assert captions.made == {"test/stain/001.png"}
    (finding,) = captions.findings
    assert str(finding).endswith("is described by its type's name (stain); write prompt/stain/001.txt")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "the caption is empty; write one sentence, or remove the file"),
        (b" \n\n", "the caption is empty; write one sentence, or remove the file"),
        ("Kaputte Münze.".encode("latin-1"), "the caption is not UTF-8; store it as UTF-8"),
        (b"One.\nTwo.\n", "the caption has 2 lines; write one sentence in one line"),
    ],
)
def test_a_bad_file_is_one_line_with_its_path(root: Path, coins: list[Sample], content: bytes, line: str) -> None:
    path = root / "coin" / "prompt" / "scratch" / "000.txt"
    path.write_bytes(content)
    with pytest.raises(BadInput) as raised:
        read_captions(root, "coin", coins, "coin")
    assert str(raised.value) == f"{path}: {line}"


def test_a_byte_order_mark_is_no_part_of_the_sentence(root: Path, coins: list[Sample]) -> None:
    (root / "coin" / "prompt" / "stain" / "000.txt").write_bytes("\ufeffA stain.\r\n".encode())
    assert read_captions(root, "coin", coins, "coin").sentences["test/stain/000.png"] == "A stain."


def test_a_caption_of_a_missing_image_is_refused_if_its_type_has_images(root: Path, coins: list[Sample]) -> None:
    path = root / "coin" / "prompt" / "stain" / "100.txt"
    path.write_text("A stain.")
    with pytest.raises(BadInput, match=r"100.txt: caption of a missing image: there is no test/stain/100\.\*; remove"):
        read_captions(root, "coin", coins, "coin")


def test_captions_of_a_type_that_is_not_there_are_noted(root: Path, coins: list[Sample]) -> None:
    without = [s for s in coins if s.defect_type != "stain"]
    captions = read_captions(root, "coin", without, "coin")
    (finding,) = captions.findings
    assert (finding.kind, finding.path.name) == ("noted", "stain")
    assert finding.problem.startswith("4 captions of a defect type without images")


def test_all_findings_at_once_those_that_stop_first(root: Path, coins: list[Sample]) -> None:
    prompt = root / "coin" / "prompt"
    (prompt / "stain" / "000.txt").unlink()
    (prompt / "stain" / "notes.doc").write_bytes(b"x")
    (prompt / "missing" / "000.txt").write_bytes(b"")
    (prompt / "missing" / "900.txt").write_text("A part is missing.")
    findings = check_captions(root, "coin", coins)
    assert [f.kind for f in findings] == ["broken", "missing", "noted", "unexpected"]


def test_a_root_that_is_not_there_is_refused(tmp_path: Path, coins: list[Sample]) -> None:
    with pytest.raises(BadInput, match="no such folder"):
        read_captions(tmp_path / "none", "coin", coins, "coin")


@pytest.mark.real
@pytest.mark.parametrize(
    ("dataset", "folder", "category", "image_id", "sentence", "noted"),
    [
        ("mvtec_ad", "mvtec_ad_256", "pill", "test/crack/000.png", "The pill has a crack.", 0),
        ("mvtec_ad", "mvtec_ad_256", "bottle", "test/broken_small/000.png", "The bottle has a small broken.", 0),
        (
            *("mvtec_loco", "mvtec_loco_200", "juice_bottle", "test/logical_anomalies/132.png"),
            *("Orange juice mislabeled as banana juice.", 1),
        ),
    ],
)
def test_the_real_captions(
    shared: Path, dataset: str, folder: str, category: str, image_id: str, sentence: str, noted: int
) -> None:
    samples = read_dataset(dataset, shared / folder, category)
    captions = read_captions(shared / "mvtec_caption", category, samples, category)
    assert captions.sentences[image_id] == sentence
    assert (captions.made, len(captions.findings)) == (frozenset(), noted)
