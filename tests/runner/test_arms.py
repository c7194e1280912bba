"""All arms of a study together through the command line, on real Ray: rows, table, report, W&B, Tune's metric."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import skimage.data
import yaml
from PIL import Image

from goodshot.runner.cli import main
from goodshot.runner.results.compaction import forget
from goodshot.runner.results.record import read_records
from goodshot.runner.results.results import Results
from tests.conftest import TINY
from tests.wandb_files import wandb_runs

pytestmark = pytest.mark.slow
SHARES_RAY = True

ARMS = ["original", "augmented", "external:web", "vqgan_clip", "generated"]


@dataclass(frozen=True)
class Finished:
    """A finished study: its command, its output folder, what it printed and its rows."""

    command: list[str]
    out: Path
    printed: str
    rows: list[dict[str, Any]]


@pytest.fixture(scope="module")
def finished(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("arms")
    (folder / "web").mkdir()
    for i in range(2):
        Image.fromarray(skimage.data.coffee()[50 * i :]).save(folder / "web" / f"{i}.png")
    study = {
        **TINY,
        "name": "arms",
        "dataset": {"name": "demo", "root": str(photographs)},
        "dev": ["coin"],
        "iterations": [2, 4],
        "arms": [arm.replace("external:", f"external:{folder}/") for arm in ARMS],
        "vqgan_clip": {"iterations": 2, "cutouts": 2},
        "objective": "planted",
        "planted": {"normals": 2},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    command = ["sweep", str(folder / "study.yaml"), "--out", str(folder / "out"), "--cpus", "2"]
    with pytest.MonkeyPatch.context() as patch, (folder / "printed").open("w+") as printed:
        patch.setattr("sys.stdout", printed)
        assert main(command) == 0
        printed.seek(0)
        rows = list(Results(str(folder / "out")).rows().values())
        return Finished(command, folder / "out", printed.read(), rows)


def test_every_arm_has_its_rows(finished: Finished) -> None:
    counts = {arm: sum(row["arm"] == arm for row in finished.rows) for arm in ARMS}
    assert counts == dict.fromkeys(ARMS[:4], 1) | {"generated": 2}
    (record,) = read_records(Results(str(finished.out)))
    assert {cell.arm for cell in record.cells} == {*ARMS}


def test_a_vqgan_clip_row_is_filled_as_a_generated_one(finished: Finished) -> None:
    for row in finished.rows:
        if row["arm"] == "vqgan_clip":
            assert row["prompt"].startswith("a coin with ")
            assert (row["encoder"], row["variance"], row["iterations"]) == ("conse-lite0-minilm", "estimated", 4)
            assert -1 <= row["similarity"] <= 1
            assert row["seconds_vqgan_clip"] > 0
            assert row["seconds_generator"] is None
            assert row["select"] is None


def test_the_objective_is_in_every_row_and_is_what_tune_maximises(finished: Finished) -> None:
    for row in finished.rows:
        assert (row["objective"], row["oracle"], row["dev"]) == ("planted", False, True)
        assert 0 <= row["planted"] <= 1
    (state,) = finished.out.glob("tune/arms/experiment_state-*.json")
    trials = [json.loads(trial[1])["last_result"] for trial in json.loads(state.read_text())["trial_data"]]
    for trial in trials:
        own = [
            r["planted"]
            for r in finished.rows
            if r["arm"] == "generated" and r["iterations"] == trial["config"]["point"]["iterations"]
        ]
        assert trial["planted"] == pytest.approx(own[0])
    assert len(trials) == 2


def test_the_table_shows_every_arm_and_its_tag(finished: Finished) -> None:
    assert "coin (dev)" in finished.printed
    assert "a development category" in finished.printed
    for arm in ("external:web", "vqgan_clip", "generated"):
        assert re.search(rf"{arm} \+2 .*\d", finished.printed)
    assert re.search(r"stages executed: .* 1 vqgan_clip\)", finished.printed)


def test_the_report_shows_every_arm(finished: Finished) -> None:
    page = (finished.out / "report.html").read_text()
    assert "AUROC against synthetic anomalies, the study&#39;s objective, prefers" in page
    assert "Test labels chose nothing" in page
    assert page.count("2 of 2 supplied images") == 1
    assert "optimised towards “a coin with" in page
    assert '<th scope="col">synthetic AUROC</th>' in page
    assert "coin (dev)" in page
    assert "external:web" in page


def test_tracked_runs_hold_every_arm(finished: Finished) -> None:
    runs = [run for run in wandb_runs(finished.out) if not run.is_of_study]
    assert len(runs) == 2
    for arm in ARMS:
        # The network of vqgan_clip is that of the last L, so it belongs to that point's run.
        logged = sum(f"coin/{arm}/image_auroc" in run.summary for run in runs)
        assert logged == (1 if arm == "vqgan_clip" else 2)
    assert all("coin/generated/planted" in run.summary for run in runs)


def test_again_it_executes_only_what_was_lost(finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    (record,) = read_records(Results(str(finished.out)))
    cell = next(c for c in record.cells if c.arm == "external:web")
    before = next(row for row in finished.rows if row["fingerprint"] == cell.fingerprint)
    shutil.rmtree(finished.out / "store" / str(cell.image_set))
    forget(Results(str(finished.out)), [cell.fingerprint])
    assert main(finished.command) == 0
    assert "stages executed: 1 (1 detection)" in capsys.readouterr().out
    assert Results(str(finished.out)).rows()[cell.fingerprint]["image_auroc"] == before["image_auroc"]
