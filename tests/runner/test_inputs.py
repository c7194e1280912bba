"""What people bring, through the commands: what was noted about their files is said, and overlaps are refused."""

from __future__ import annotations

import html
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from goodshot.components.config import LONGEST_NAME
from goodshot.components.errors import BadInput
from goodshot.runner.cli import main
from goodshot.runner.declaration.search import Range
from goodshot.runner.named import load_study
from goodshot.runner.results.results import Results
from goodshot.runner.results.trials import Ledger, search_identity
from goodshot.runner.run.execute import plan_studies
from goodshot.runner.run.options import Options
from goodshot.runner.study.settings import NOT_YAML, read_study, read_yaml
from goodshot.runner.study.study import Study
from goodshot.runner.tracking.content import summarise
from tests.conftest import TINY
from tests.data import miniatures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder of one category, and a study that reads it."""
    root = tmp_path / "parts/bolt"
    miniatures.own(root, good=6, bad=2, masked=True)
    study = {**TINY, "categories": ["bolt"], "arms": ["original"], "dataset": {"name": "folder", "root": str(root)}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({**study, "objects": {"bolt": "bolt"}}))
    return root


def planned(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    """The exit status of ``goodshot plan`` on the folder's study, and what it printed."""
    study = folder.parents[1] / "study.yaml"
    status = main(["plan", str(study), "--out", str(folder.parents[1] / "out"), *options])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def test_a_plan_says_how_masks_are_read_and_what_is_skipped(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = next((folder / "masks/scratch").iterdir())
    pixels = np.asarray(Image.open(mask).convert("L")).copy()
    pixels[:2][pixels[:2] > 0] = 100
    Image.fromarray(pixels).save(mask)
    (folder / "good/notes.txt").write_text("lot 7")
    status, text = planned(folder, capsys)
    assert status == 0
    assert f"noted: {mask}: has 3 grey levels: all above 0 are marked" in text
    assert f"unexpected: {folder}/good/notes.txt: is not part of the layout and is skipped" in text


def test_many_findings_are_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(7):
        (folder / f"good/{i}.txt").write_text("x")
    _, text = planned(folder, capsys)
    assert text.count("unexpected:") == 3 + 1
    assert "4 more in bolt; goodshot check lists all" in text


def test_a_test_image_that_is_a_training_image_is_refused_unless_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i, good in enumerate(sorted((folder / "good").iterdir())[:2]):
        shutil.copy(good, folder / f"bad/copy {i}.png")
        shutil.copy(next((folder / "masks").glob("*.png")), folder / f"masks/copy {i}.png")
    status, text = planned(folder, capsys)
    assert status == 2
    assert "copy 0.png: is the training image good/" in text or "too, with another label" in text
    assert "or allow it with --set dataset.overlap=allow" in text
    assert len(text.strip().splitlines()) == 1
    status, text = planned(folder, capsys, "--set", "dataset.overlap=allow")
    assert status == 0
    assert "overlap: " in text


def test_the_largest_size_is_a_field_that_names_itself_and_no_part_of_an_identity(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, text = planned(folder, capsys, "--set", "dataset.max_megapixels=0.001")
    assert status == 2
    assert len(text.strip().splitlines()) == 1
    assert "megapixels, more than the limit of 0.001; scale it down, or raise dataset.max_megapixels" in text
    shard = ["shard", "folder", "--root", str(folder.parent), "--out", str(tmp_path / "shards"), "--strict"]
    assert main([*shard, "--max-megapixels", "1"]) == 0
    studies = [
        read_study(str(tmp_path / "study.yaml"), [f"dataset.max_megapixels={limit}"]) for limit in (1, 500, 2000)
    ]
    plans = [plan_studies([study], Options(str(tmp_path / "out"))) for study in studies]
    assert len({tuple(plan.stages) for plan in plans}) == 1
    assert len({search_identity(study) for study in studies}) == 1


@pytest.mark.parametrize("suffix", ["webp", "avif", "jfif", "jp2", "gif"])
def test_further_formats_are_read(folder: Path, capsys: pytest.CaptureFixture[str], suffix: str) -> None:
    for path in (folder / "good").iterdir():
        image = Image.open(path).convert("RGB")
        image.save(path.with_suffix(f".{suffix}"), "JPEG" if suffix == "jfif" else None)
        path.unlink()
    status, text = planned(folder, capsys)
    assert status == 0, text
    assert "unexpected" not in text


def test_a_key_that_stands_twice_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = folder.parents[1] / "study.yaml"
    study.write_text(study.read_text() + "\ncopies: [5]\ncopies: [7]\n")
    status, text = planned(folder, capsys)
    assert status == 2
    assert "the key copies stands twice" in text


def test_numbers_with_a_leading_zero_are_names_and_anchors_have_a_place(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.rename(folder.with_name("01"))
    study = folder.parents[1] / "study.yaml"
    values = yaml.safe_load(study.read_text()) | {"dataset": {"name": "folder", "root": str(folder.parent)}}
    del values["categories"], values["objects"]
    text = yaml.safe_dump(values) + "x-names: &names [01]\ncategories: *names\nobjects: {01: bolt}\n"
    study.write_text(text)
    status, said = planned(folder, capsys)
    assert status == 0, said
    assert planned(folder, capsys, "--set", "categories=[01]")[0] == 0


def test_one_photograph_is_enough_and_may_be_the_file_itself(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = next((folder / "good").iterdir())
    assert (
        main(["generate", "--images", str(photo), "--object", "bolt", "--out", str(tmp_path / "o"), "--preview"]) == 0
    )
    assert (tmp_path / "o/preview.png").is_file()
    capsys.readouterr()


def test_brackets_in_names_are_printed_as_they_are(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    study, out = str(tmp_path / "study.yaml"), tmp_path / "[draft] v2"
    title = "PatchCore [paper], run of [/data/lot3] :smile:"
    assert main(["sweep", study, "--out", str(out), "--local", "--set", f"title={title!r}"]) == 0
    text = capsys.readouterr().out
    assert title in text
    assert f"report: {out}/report.html" in text


def test_merged_mappings_may_be_overridden_and_other_mistakes_are_one_line() -> None:
    text = "x-b: &b {copies: 1}\nx-presets:\n  small: &s\n    <<: *b\n    copies: 2\ndetector:\n  <<: *s\n  copies: 3\n"
    assert read_yaml(text)["detector"] == {"copies": 3}
    assert read_yaml("1: a\n'1': b\n") == {1: "a", "1": "b"}
    assert read_yaml("[0, -0, +1, 0x1F, 1_000, 0.5, 1.0e-3, 01, 08, 1:30, yes]") == [
        0, 0, 1, 31, 1000, 0.5, 0.001, "01", "08", "1:30", True,
    ]  # fmt: skip
    for text in ("!!map [a]", "!!bool z", "!!timestamp z", "{a: 1, a: 2}"):
        with pytest.raises(NOT_YAML):
            read_yaml(text)


def swept(folder: Path, root: Path, out: Path, *options: str) -> tuple[list[tuple[str, str]], str]:
    """The (category, arm) of every row of ``--out`` after a local sweep of the study with another root."""
    study = str(folder.parents[1] / "study.yaml")
    settings = ["categories=[]", "objects={}", f"dataset.root={root}", *options]
    words = ["sweep", study, "--out", str(out), "--local", *(w for each in settings for w in ("--set", each))]
    assert main(words) == 0
    rows = Results(str(out)).read("results", ("category", "arm")).to_pylist()
    return sorted((row["category"], row["arm"]) for row in rows), (out / "report.html").read_text()


def test_a_renamed_category_keeps_its_rows_under_the_new_name_and_a_copy_has_its_own(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    out = tmp_path / "out"
    assert swept(folder, folder.parent, out)[0] == [("bolt", "original")]
    capsys.readouterr()
    renamed = shutil.copytree(folder.parent, tmp_path / "renamed")
    (renamed / "bolt").rename(renamed / "screw")
    rows, report = swept(folder, renamed, out)
    assert rows == [("screw", "original")]
    assert ">screw<" in report
    assert "1 finished, 0 to run" in capsys.readouterr().out
    shutil.copytree(renamed / "screw", renamed / "screw_lot2")
    rows, report = swept(folder, renamed, out)
    assert rows == [("screw", "original"), ("screw_lot2", "original")]
    assert ">screw_lot2<" in report
    said = capsys.readouterr().out
    assert "2 cells of 1 studies: 1 finished, 1 to run" in said
    assert main(["verify", str(out)]) == 0
    assert swept(folder, renamed, out)[0] == rows
    # The copy alone has the other's content, and a row already.
    capsys.readouterr()
    left, report = swept(folder, renamed, out, "categories=[screw_lot2]")
    assert left == rows
    assert re.search(r"^ *screw_lot2 +original", capsys.readouterr().out, re.MULTILINE)
    assert ">screw_lot2<" in report
    assert ">screw<" not in report


def test_a_scratch_too_fine_for_the_detector_is_said_and_only_then_another_cell(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fingerprints() -> set[str]:
        study = load_study(str(folder.parents[1] / "study.yaml"), [])
        return {*plan_studies([study], Options(str(folder.parents[1] / "out"))).cells}

    mask = next((folder / "masks/scratch").iterdir())
    image = folder / "bad/scratch" / mask.name
    Image.open(image).resize((900, 300)).save(image)
    wide = np.zeros((300, 900), np.uint8)
    wide[100:200, 300:600] = 255
    Image.fromarray(wide).save(mask)
    before = fingerprints()
    assert "too fine" not in planned(folder, capsys)[1]
    wide[:] = 0
    wide[1, 301:600] = 255
    Image.fromarray(wide).save(mask)
    assert before.isdisjoint(fingerprints())
    assert "1 defective image has a mask too fine for 64x64 pixels" in planned(folder, capsys)[1]
    shards = folder.parents[1] / "shards"
    assert main(["shard", "folder", "--root", str(folder.parent), "--out", str(shards)]) == 0
    from_folder = fingerprints()
    status, text = planned(folder, capsys, "--set", f"dataset.root={shards}")
    assert (status, "bolt: 1 defective image has a mask too fine for 64x64 pixels" in text) == (0, True)
    study = load_study(str(folder.parents[1] / "study.yaml"), [f"dataset.root={shards}"])
    assert {*plan_studies([study], Options(str(folder.parents[1] / "out"))).cells} == from_folder


def test_photographs_may_lie_deeper_and_in_capitals(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outer = tmp_path / "photos/bolt"
    outer.mkdir(parents=True)
    shutil.copytree(folder / "good", outer / "Bolt/GOOD/Good")
    command = ["generate", "--images", str(outer), "--object", "bolt", "--out", str(tmp_path / "o"), "--preview"]
    assert main(command) == 0
    shutil.copytree(outer / "Bolt/GOOD/Good", tmp_path / "web/bolt/bolt")
    assert planned(folder, capsys, "--set", f"arms=['external:{tmp_path / 'web'}']")[0] == 0


def test_a_setting_takes_a_name_with_dots_whole(folder: Path) -> None:
    def with_settings(*settings: str) -> Study:
        return read_study(str(folder.parents[1] / "study.yaml"), settings)

    study = with_settings(
        "categories=[bolt, a.b, 'a=b', v1.0]",
        "objects.a.b=nut",
        "objects.'a=b'=ring",
        'objects."v1.0"=pin',
        "category_augmentation.a.b=strong",
        "support.a.b=[x.png, y.png]",
        "support.a.b.1=z.png",
        "support.v1.0=[x.png]",
        "search.space.generator.commitment.high=1",
        "search.space.generator.commitment.low=0.5",
        "search.algorithm=random",
        "arms=[original, generated]",
        "objective=planted",
    )
    assert study.objects == {"bolt": "bolt", "a.b": "nut", "a=b": "ring", "v1.0": "pin"}
    assert study.category_augmentation == {"a.b": "strong"}
    assert study.support == {"a.b": ("x.png", "z.png"), "v1.0": ("x.png",)}
    assert study.search.space["generator.commitment"] == Range(low=0.5, high=1)
    detector = with_settings("detectors.0.args.n_features=50", "detectors.0.name=padim").detectors[0]
    assert detector.args == {"n_features": 50}
    with pytest.raises(BadInput, match=r"--set objects\.a\.b: write it as key=value"):
        with_settings("objects.a.b")
    with pytest.raises(BadInput, match=r"category_augmentation\.a\.b: must be 'mild', .* \(given: 'weak'\)"):
        with_settings("category_augmentation.a.b=weak")


def test_an_undefined_metric_is_missing_and_left_out_of_means(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("COLUMNS", "100")
    root, out = tmp_path / "mvtec", tmp_path / "out"
    for category, kinds in {"all_bad": ["cut"], "bolt": ["cut", "good"], "clean": ["good"]}.items():
        for i, place in enumerate(["train/good", *(f"test/{kind}" for kind in kinds for _ in range(2))]):
            miniatures.photo(root / category / place / f"{i}.png", i)
            if place == "test/cut":
                truth = root / category / "ground_truth/cut"
                miniatures.mask(truth / f"{i}_mask.png", (slice(0, 20), slice(0, 20)))
    settings = ["dataset.name=mvtec_ad", "arms=[original, augmented]"]
    _, report = swept(folder, root, out, *settings)
    terminal = capsys.readouterr().out
    results = Results(str(out))
    undefined = {"all_bad": {"image_auroc"}, "clean": {"image_auroc", "pixel_auroc", "aupro"}}
    raw = results.read("results").to_pylist()
    assert len(raw) == 6
    for row in raw:
        missing = undefined.get(row["category"], set())
        for metric in ("image_auroc", "pixel_auroc", "aupro"):
            assert (row[metric] is None) == (metric in missing), row
            assert row[metric] is None or math.isfinite(row[metric])
    for category, dashes in {"all_bad": 1, "bolt": 0, "clean": 3}.items():
        (line,) = (line for line in terminal.splitlines() if line.split()[:2] == [category, "original"])
        assert line.count("–") == dashes
    assert "nan" not in terminal
    assert not re.search(r">\s*nan\b", report)
    assert "Mean image AUROC over 1 of 3 categories, 1 cell per arm" in report
    assert main(["verify", str(out)]) == 0
    assert all(map(math.isfinite, summarise(raw).values()))
    # Rows of earlier versions hold NaN.
    shutil.rmtree(out / "results")
    for row in raw:
        older = {name: math.nan if name in undefined.get(row["category"], ()) else value for name, value in row.items()}
        results.append(row["fingerprint"], older, [], [])
    stored = [results.single.row(row["fingerprint"])["image_auroc"] for row in raw]
    assert sum(map(math.isnan, stored)) == 4
    assert {f: row["image_auroc"] for f, row in results.rows().items()} == {
        row["fingerprint"]: row["image_auroc"] for row in raw
    }
    assert main(["report", str(out)]) == 0
    page = (out / "report.html").read_text()
    assert "Mean image AUROC over 1 of 3 categories, 1 cell per arm" in page
    assert page.count(">–<") == report.count(">–<") > 0


def test_a_category_may_have_any_name_that_a_folder_has(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    names = ['-it\'s "größer" a#b%41 $\\frac$ [x] 日\n本.', "n" * 200]
    root, out, shards = tmp_path / "mvtec", tmp_path / "out", tmp_path / "shards"
    for number, name in enumerate(names):
        for i, place in enumerate(["train/good", "test/good", "test/cut"]):
            miniatures.photo(root / name / place / "0.png", 3 * number + i)
    objects = "objects=" + json.dumps(dict.fromkeys(names, "bolt"))
    settings = ["dataset.name=mvtec_ad", "arms=[generated]", objects]
    rows, report = swept(folder, root, out, *settings)
    assert rows == [(name, "generated") for name in names]
    said = capsys.readouterr()
    assert f"{'n' * 21}…{'n' * 21} " in said.out
    assert "missing from font" not in said.err
    assert all(name in html.unescape(report) for name in names)
    assert main(["shard", "mvtec_ad", "--root", str(root), "--out", str(shards)]) == 0
    settings += ["categories=[]", f"dataset.root={shards}"]
    status, text = planned(folder, capsys, *(word for setting in settings for word in ("--set", setting)))
    assert (status, "2 cells: 2 finished, 0 left" in text) == (0, True)


def test_the_longest_name_of_a_study_is_a_files(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = read_study(str(tmp_path / "study.yaml"), [f"name={'s' * LONGEST_NAME}", "arms=[generated]"])
    ledger = Ledger(Results(str(tmp_path / "out")), study)
    record = ledger.begin({"vq_weight": 1.0, "copies": 2, "iterations": 4})
    chosen = read_study(ledger.write_chosen(record))
    assert chosen.name == "s" * (LONGEST_NAME - 7) + "-chosen"
    for name in ("s" * (LONGEST_NAME + 1), "..", ".hidden"):
        status, text = planned(folder, capsys, "--set", f"name={name}")
        assert status == 2
        assert "name: must be a name of letters, digits" in text
