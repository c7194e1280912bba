"""A whole small study through the command line, on real photographs and real Ray."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from sklearn.metrics import roc_auc_score

from goodshot.runner.cli import main
from goodshot.runner.results.compaction import forget
from goodshot.runner.results.results import Results
from goodshot.runner.store.artifacts import Store
from tests.conftest import TINY
from tests.wandb_files import wandb_runs

SHARES_RAY = True

SWEEP = {**TINY, "name": "tiny_sweep", "vq_weight": [0.5, 1.0], "copies": [2, 3], "iterations": [4, 8]}


@dataclass(frozen=True)
class Finished:
    """A finished sweep: the command's arguments, its output folder and what it printed."""

    arguments: list[str]
    out: Path
    printed: str


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def sweep(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("sweep")
    study = {**SWEEP, "dataset": {"name": "demo", "root": str(photographs)}}
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    arguments = ["sweep", str(folder / "study.yaml"), "--out", str(folder / "out"), "--cpus", "2"]
    with pytest.MonkeyPatch.context() as patch, (folder / "printed").open("w+") as printed:
        patch.setattr("sys.stdout", printed)
        assert main(arguments) == 0
        printed.seek(0)
        return Finished(arguments, folder / "out", printed.read())


def test_every_cell_has_a_row_whose_auroc_follows_from_its_scores(sweep: Finished) -> None:
    results = Results(str(sweep.out))
    rows = results.rows()
    scores = results.read("scores").to_pylist()
    assert sorted(row["arm"] for row in rows.values()) == ["augmented"] * 2 + ["generated"] * 8 + ["original"]
    for fingerprint, row in rows.items():
        own = [s for s in scores if s["fingerprint"] == fingerprint]
        assert len(own) == row["n_test"] == 28
        auroc = roc_auc_score([s["label"] for s in own], [s["score"] for s in own])
        assert row["image_auroc"] == pytest.approx(auroc, abs=1e-9)


def test_rows_say_what_they_rest_on(sweep: Finished) -> None:
    for row in Results(str(sweep.out)).rows().values():
        assert row["detector"] == "patchcore-lite0"
        assert row["backbone"] == "efficientnet_lite0"
        assert len(row["support_ids"]) == 1
        assert json.loads(row["versions"])["torch"]
        if row["arm"] == "generated":
            assert row["prompt"].startswith("a coin with ")
            assert row["encoder"] == "conse-lite0-minilm"
            assert row["chosen_iteration"] <= row["iterations"]
            assert -1 <= row["similarity"] <= 1
        else:
            assert row["prompt"] is None
            assert row["vq_weight"] is None


def test_each_weight_trained_one_generator(sweep: Finished) -> None:
    runs = [json.loads(path.read_text()) for path in sorted((sweep.out / "runs").glob("*.json"))]
    assert list(runs[0]["generator_steps"].values()) == [7, 7]
    assert runs[0]["executed"]["generator"] == 2
    assert "generator steps: 14 in this run" in sweep.printed
    assert "on its own takes 40" in sweep.printed


def test_longer_image_sets_begin_with_the_shorter_ones_images(sweep: Finished) -> None:
    rows = Results(str(sweep.out)).rows()
    store = Store(str(sweep.out / "store"))
    cells = json.loads((sweep.out / "studies/tiny_sweep.cells.json").read_text())
    sets = {}
    for cell in cells:
        if cell["arm"] == "generated":
            row = rows[cell["fingerprint"]]
            images = store.get(cell["image_set"]).arrays("images.safetensors")["images"]
            assert len(images) == row["copies"]
            sets[row["vq_weight"], row["chosen_iteration"], row["copies"]] = images
    for (weight, iteration, copies), images in sets.items():
        larger = sets.get((weight, iteration, copies + 1))
        if larger is not None:
            assert (larger[:copies] == images).all()


def test_a_tracked_run_per_trial(sweep: Finished) -> None:
    runs = [run for run in wandb_runs(sweep.out) if not run.is_of_study]
    assert len({run.id for run in runs}) == len(runs) == 8
    for run in runs:
        assert "vq_weight" in run.config
        assert run.curve("coin/support_0/similarity")
        assert run.summary["coin/generated/image_auroc"] > 0
    counts = [json.loads(path.read_text()) for path in sorted((sweep.out / "runs").glob("*.json"))]
    assert (counts[0]["tracked"], counts[0]["untracked"]) == (8, 0)


def test_the_report_is_there_and_self_contained(sweep: Finished) -> None:
    page = (sweep.out / "report.html").read_text()
    assert "coin" in page
    for arm in ("Original photograph", "Augmented image", "Generated image"):
        assert f'alt="{arm} 1 of coin"' in page
    assert not re.search(r"(src|href)=[\"']https?:", page)


def test_progress_came_as_plain_lines(sweep: Finished) -> None:
    assert re.search(r"cells \d+/11 · generator steps \d+/14", sweep.printed)
    assert "\x1b[" not in sweep.printed


def test_running_again_executes_nothing(sweep: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: p.stat().st_mtime_ns for p in (sweep.out / "results").iterdir()}
    code, out, _ = run(sweep.arguments, capsys)
    assert code == 0
    assert "stages executed: 0 (none)" in out
    assert {p: p.stat().st_mtime_ns for p in (sweep.out / "results").iterdir()} == before


def test_a_lost_row_and_a_broken_artifact(sweep: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    """What is missing or damaged is made anew, with the same result, and the others are kept."""
    rows = Results(str(sweep.out)).rows()
    cells = json.loads((sweep.out / "studies/tiny_sweep.cells.json").read_text())
    generated = [c for c in cells if c["arm"] == "generated"][:2]
    lost = [generated[0], next(c for c in cells if c["arm"] == "original")]
    kept = {c["fingerprint"]: rows[c["fingerprint"]] for c in lost}
    forget(Results(str(sweep.out)), kept)
    assert main(["verify", str(sweep.out)]) == 1
    missing = [line for line in capsys.readouterr().out.splitlines() if "that it rests on are not there" in line]
    assert missing
    assert all(line.endswith("; run the study again") for line in missing)
    (images,) = (sweep.out / "store" / generated[0]["image_set"]).glob("*/images.safetensors")
    content = images.read_bytes()
    images.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    # In this process, which has to find and mend what Ray's workers left.
    again_here = [*sweep.arguments[: sweep.arguments.index("--cpus")], "--local"]
    code, out, _ = run(again_here, capsys)
    assert code == 0
    assert "stages executed: 3 (2 detection, 1 generator)" in out
    assert "1 stage was run again after an artifact was damaged" in out
    assert not Results(str(sweep.out)).read("failures").num_rows
    again = Results(str(sweep.out)).rows()
    for fingerprint, row in kept.items():
        assert again[fingerprint]["image_auroc"] == row["image_auroc"]


def test_no_secret_and_no_machine_in_what_is_left(sweep: Finished) -> None:
    study = (sweep.out / "studies/tiny_sweep.yaml").read_text()
    assert os.environ.get("WANDB_API_KEY", "no-key-here") not in study
    results = Results(str(sweep.out)).read("results").to_pylist()
    assert not any(os.uname().nodename in str(row) for row in results)
