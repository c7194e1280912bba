"""W&B: a run a point, read back with W&B's own reader, continued when a study is resumed, kept in an outage."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from PIL import Image
from rich.console import Console

from goodshot.runner.cells.detection import DetectionStage
from goodshot.runner.plan.plan import Plan
from goodshot.runner.report import write_report
from goodshot.runner.results.compaction import forget
from goodshot.runner.results.results import Results
from goodshot.runner.run.execute import run_studies
from goodshot.runner.run.options import Options, Run
from goodshot.runner.store.files import Files
from goodshot.runner.study.settings import to_yaml, validate
from goodshot.runner.study.study import Study
from goodshot.runner.tracking.messages import Logged
from goodshot.runner.tracking.record import RunRecords, read_run_records
from goodshot.runner.tracking.tracker import Tracker
from goodshot.runner.tracking.wandb_runs import Names
from tests.conftest import TINY
from tests.wandb_files import WandbRun, wandb_runs
from tests.wandb_server import wandb_server

KEY = "5ec2e7" * 6 + "beef"
SWEEP = {**TINY, "name": "tracked", "vq_weight": [0.5, 1.0], "iterations": [4, 8], "cells": ["detection", "latents"]}
POINTS = 4


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_PROJECT", "line 4")
    monkeypatch.setenv("WANDB_TAGS", "cam2, lot 7")


@dataclass(frozen=True)
class Tracked:
    """A finished sweep, its plan and the folder that it was written to."""

    study: Study
    plan: Plan
    run: Run
    out: Path

    @property
    def runs(self) -> list[WandbRun]:
        return wandb_runs(self.out)


def run_in(out: Path, study: Study) -> Tracked:
    plan, run = run_studies([study], Options(str(out), local=True), Console(file=io.StringIO()))
    return Tracked(study, plan, run, out)


def sweep_of(photographs: Path, **fields: object) -> Study:
    return validate({**SWEEP, "dataset": {"name": "demo", "root": str(photographs)}, **fields}, "tracked")


@pytest.fixture(scope="module")
def sweep(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Tracked:
    with pytest.MonkeyPatch.context() as patch:
        # A key that is there and not asked for, because the mode is offline.
        patch.setenv("WANDB_API_KEY", KEY)
        patch.setenv("WANDB_MODE", "offline")
        return run_in(tmp_path_factory.mktemp("tracked") / "out", sweep_of(photographs))


@pytest.fixture(scope="module")
def points(sweep: Tracked) -> dict[tuple[float, int], WandbRun]:
    runs = [run for run in sweep.runs if not run.is_of_study]
    return {(run.config["vq_weight"], run.config["iterations"]): run for run in runs}


def test_each_point_is_a_run_in_the_studys_group(sweep: Tracked, points: dict[tuple[float, int], WandbRun]) -> None:
    assert (sweep.run.tracked, sweep.run.untracked, sweep.run.tracking_error) == (POINTS, 0, "")
    assert len(sweep.runs) == POINTS + 1
    assert points.keys() == {(0.5, 4), (0.5, 8), (1.0, 4), (1.0, 8)}
    for run in points.values():
        assert run.header["run_group"] == "tracked"
        assert run.exit_code == 0


def test_the_configuration_has_every_field_at_the_point(points: dict[tuple[float, int], WandbRun]) -> None:
    for (vq_weight, iterations), run in points.items():
        declared = run.config["study"]
        assert (declared["vq_weight"], declared["iterations"]) == (vq_weight, iterations)
        assert declared.keys() >= set(Study.model_fields)
        assert declared["detectors"][0]["image_size"] == 64
        assert run.config["point"] == f"vq_weight={vq_weight:g} copies=2 iterations={iterations}"
        assert run.config["code"]["versions"]["goodshot"]
        assert run.header["notes"] == f"Report: {run.config['report']}"
        assert run.config["report"].endswith("/report.html")


def test_the_curves_are_those_of_the_training(sweep: Tracked, points: dict[tuple[float, int], WandbRun]) -> None:
    rows = Results(str(sweep.out)).rows().values()
    for (vq_weight, iterations), run in points.items():
        similarity = run.curve("coin/support_0/similarity")
        assert [*similarity] == [*range(2, iterations + 1, 2)]
        (row,) = (
            r for r in rows if (r["vq_weight"], r["iterations"], r["cell"]) == (vq_weight, iterations, "detection")
        )
        assert similarity[row["chosen_iteration"]] == max(similarity.values()) == pytest.approx(row["similarity"])
        for name in ("loss/total", "loss/mse", "loss/codebook", "codes_used"):
            assert len(run.curve(f"coin/support_0/{name}")) >= iterations - 1
        assert 0 < run.summary["coin/support_0/codes_used"] <= 1


def test_tables_and_means_have_the_columns_of_every_kind_of_cell(points: dict[tuple[float, int], WandbRun]) -> None:
    for run in points.values():
        rows = run.table("results")
        assert sorted((row["cell"], row["arm"]) for row in rows) == [
            ("detection", "augmented"),
            ("detection", "generated"),
            ("detection", "original"),
            ("latents", "generated"),
        ]
        for column in ("image_auroc", "latent_variance"):
            (value,) = (row[column] for row in rows if row["arm"] == "generated" and row[column] is not None)
            assert run.summary[f"coin/generated/{column}"] == pytest.approx(value)
            assert run.curve(f"coin/generated/{column}") == {run.config["iterations"]: pytest.approx(value)}
        assert f"run-{run.id}-results" in run.artifacts


def test_a_picture_of_each_support(points: dict[tuple[float, int], WandbRun]) -> None:
    for run in points.values():
        with Image.open(run.picture("coin/support_0/images")) as picture:
            assert max(picture.size) <= 512
            assert picture.height > 3 * picture.width / 2  # original, augmented, generated
        (caption,) = (line[name] for line in run.history if (name := "coin/support_0/images.caption") in line)
        assert caption.startswith("generated: iteration ")


def test_the_study_has_a_run_with_its_points_and_the_best_configuration(sweep: Tracked) -> None:
    (summary,) = (run for run in sweep.runs if run.is_of_study)
    rows = summary.table("points")
    ids = {run.id for run in sweep.runs if not run.is_of_study}
    assert {row["run"] for row in rows} == ids
    best = max(rows, key=lambda row: row["similarity"])
    assert summary.summary["chosen/run"] == best["run"]
    chosen = yaml.safe_load(summary.artifacts["tracked-chosen"]["tracked.yaml"].read_text())
    assert (chosen["vq_weight"], chosen["iterations"]) == ([best["vq_weight"]], [best["iterations"]])
    assert sweep.out in summary.artifacts["tracked-chosen"]["tracked.yaml"].parents


def test_no_key_is_left_behind(sweep: Tracked) -> None:
    assert not [path for path in sweep.out.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_an_interrupted_study_continues_its_runs(
    photographs: Path, tmp_path: Path, sweep: Tracked, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, cells = sweep_of(photographs), []
    detect = DetectionStage.run

    def interrupted(self: DetectionStage, context: object, wanted: object) -> object:
        cells.append(self)
        if len(cells) == 4:
            raise KeyboardInterrupt
        return detect(self, context, wanted)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(DetectionStage, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_in(tmp_path / "out", study)
    deadline = time.monotonic() + 300
    while len(read_run_records(Files(str(tmp_path / "out")))) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    before = wandb_runs(tmp_path / "out")
    assert [run.exit_code for run in before] == [0, 1]  # one point is finished, one was being worked on
    resumed = run_in(tmp_path / "out", study)
    assert resumed.run.tracked == POINTS - 1
    points = [run for run in resumed.runs if not run.is_of_study]
    assert len(points) == POINTS + 1
    assert len({run.id for run in points}) == POINTS
    assert all(run.header["resume"] for run in points)
    # What the first part has, the second does not repeat.
    continued = [run for run in points if run.id == before[-1].id]
    assert len(continued) == 2
    for name in ("coin/support_0/similarity", "coin/support_0/loss/total", "coin/generated/image_auroc"):
        first, second = (run.curve(name) for run in continued)
        assert not first.keys() & second.keys()
    assert continued[1].history[0]["_step"] == continued[0].history[-1]["_step"] + 1
    whole = next(run for run in sweep.runs if run.config.get("point") == continued[0].config["point"])
    assert continued[0].curve("coin/support_0/similarity") | continued[1].curve(
        "coin/support_0/similarity"
    ) == pytest.approx(whole.curve("coin/support_0/similarity"))

    # Sent, the parts become one run.
    with wandb_server() as server:
        folders = [str(run.folder) for run in continued]
        environment = {**os.environ, "WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
        command = [sys.executable, "-m", "wandb", "sync", *folders]
        subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, check=True, timeout=300)
        sent = server.lines[continued[0].id]
    assert [line["_step"] for line in sent] == [line["_step"] for part in continued for line in part.history]

    # The same study with one more point adds that run alone.
    more = run_in(tmp_path / "out", sweep_of(photographs, vq_weight=[0.5, 1.0, 2.0], iterations=[4, 8]))
    assert len({run.id for run in more.runs if not run.is_of_study}) == len(more.runs) - 1 - 2 == POINTS + 2


@pytest.fixture
def bare(sweep: Tracked, tmp_path: Path) -> Callable[[str], Tracker]:
    """Makes trackers that write the runs of the finished sweep again, to a folder without any."""
    records = tmp_path / "out"

    def make(mode: str) -> Tracker:
        results = Results(records.as_uri())
        rows = Results(str(sweep.out)).rows()
        for fingerprint, row in rows.items():
            results.append(fingerprint, row, [], [])
        return Tracker(results, (sweep.out / "store").as_uri(), records, mode)  # type: ignore[arg-type]

    return make


def log_all(tracker: Tracker, sweep: Tracked) -> None:
    for trial in sweep.plan.trials_of["tracked"]:
        tracker.begin(sweep.study, sweep.plan, trial)
        tracker.end(sweep.study, trial.values)


def test_of_two_drivers_of_one_output_one_writes_each_run(
    bare: Callable[[str], Tracker], sweep: Tracked, tmp_path: Path
) -> None:
    first, second = bare("offline"), bare("offline")
    trials = sweep.plan.trials_of["tracked"]
    for tracker in (first, second):
        for trial in trials:
            tracker.begin(sweep.study, sweep.plan, trial)
    for tracker in (first, second):
        for trial in trials:
            tracker.end(sweep.study, trial.values)
    written = [tracker.finish().written for tracker in (first, second)]
    assert sum(written) == POINTS
    assert len({run.id for run in wandb_runs(tmp_path / "out")}) == len(wandb_runs(tmp_path / "out")) == POINTS
    assert not [*(tmp_path / "out" / "leases").glob("*wandb*")]


def test_a_closed_server_costs_one_attempt_and_loses_nothing(
    bare: Callable[[str], Tracker], sweep: Tracked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_RUN_ID", "all-in-one")
    environment, temporary = dict(os.environ), tempfile.gettempdir()
    tracker = bare("online")
    began = time.monotonic()
    log_all(tracker, sweep)
    assert time.monotonic() - began < 1  # whoever logs waits for nothing
    logged = tracker.finish()
    assert (logged.written, logged.failed) == (POINTS, 0), logged
    assert "127.0.0.1:9" in logged.unreachable
    runs = wandb_runs(tmp_path / "out")
    assert {run.folder.name.partition("-")[0] for run in runs} == {"offline"}
    assert all(run.curve("coin/support_0/similarity") for run in runs)
    assert len(runs) == POINTS
    assert (dict(os.environ), tempfile.gettempdir()) == (environment, temporary)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_a_server_that_never_answers_is_asked_once_and_photographs_need_not_be_sent(
    bare: Callable[[str], Tracker], sweep: Tracked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("GOODSHOT_WANDB_IMAGES", "0")
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        tracker = bare("online")
        log_all(tracker, sweep)
        logged = tracker.finish()
        assert _connections(server) == 1
    assert (logged.written, logged.failed) == (POINTS, 0), logged
    assert "timed out" in logged.unreachable
    assert not [*tmp_path.rglob("*.png")]
    assert len(wandb_runs(tmp_path / "out")) == POINTS


@pytest.mark.slow
def test_runs_are_sent_and_continued_and_an_outage_in_the_middle_loses_nothing(
    bare: Callable[[str], Tracker], sweep: Tracked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    first, second, *others = sweep.plan.trials_of["tracked"]
    out = tmp_path / "out"
    with wandb_server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        tracker = bare("online")
        missing = first.cells[first.values["iterations"]][-1:]
        forget(Results(str(out)), missing)
        tracker.begin(sweep.study, sweep.plan, first)
        assert tracker.finish() == Logged(written=1)
        (record,) = read_run_records(Files(str(out)))
        assert record.url == f"{server.url}/lab/line%204/runs/{record.id}"
        assert record.entity == "lab"
        assert any("coin/support_0/loss/total" in line for line in server.lines[record.id])
        sent = len(server.lines[record.id])

        tracker = bare("online")  # which has the missing row again
        tracker.begin(sweep.study, sweep.plan, first)
        tracker.end(sweep.study, first.values)
        tracker.begin(sweep.study, sweep.plan, second)
        deadline = time.monotonic() + 120
        while len(server.runs) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        server.stop()
        assert next(iter(server.runs)) == record.id
        assert not any("coin/support_0/loss/total" in line for line in server.lines[record.id][sent:])
        tracker.end(sweep.study, second.values)
        for trial in others:
            tracker.begin(sweep.study, sweep.plan, trial)
            tracker.end(sweep.study, trial.values)
        logged = tracker.finish()
    assert (logged.written, logged.failed) == (POINTS, 0), logged
    assert logged.unreachable
    runs = wandb_runs(out)
    assert len({run.id for run in runs}) == POINTS
    for trial in (second, *others):
        assert any(run.config["point"] == trial.label and run.curve("coin/support_0/similarity") for run in runs)


def _connections(server: socket.socket) -> int:
    """How many were opened to a server that has accepted none yet."""
    server.setblocking(False)
    count = 0
    with suppress(BlockingIOError):
        while True:
            server.accept()[0].close()
            count += 1
    return count


def test_a_run_shows_what_is_finished_while_its_point_goes_on(
    bare: Callable[[str], Tracker], sweep: Tracked, tmp_path: Path
) -> None:
    tracker = bare("offline")
    trial = sweep.plan.trials_of["tracked"][0]
    missing = trial.cells[4][-1]
    forget(Results(str(tmp_path / "out")), [missing])
    tracker.begin(sweep.study, sweep.plan, trial)
    # Killed, a driver closes its end of the pipe and says nothing more.
    logged = tracker.finish()
    assert (logged.written, logged.failed) == (1, 0), logged
    (run,) = wandb_runs(tmp_path / "out")
    assert run.exit_code == 1
    assert (run.summary["cells"], run.summary["cells_finished"]) == (4, 3)
    assert len(run.table("results")) == 3
    (record,) = read_run_records(Files(str(tmp_path / "out")))
    assert record.content == ""


def test_the_report_links_to_runs_that_were_sent(sweep: Tracked) -> None:
    options = Options(str(sweep.out))
    page = sweep.out / "report.html"
    write_report(options)
    assert "W&amp;B" not in page.read_text()
    files = Files(str(sweep.out))
    records, kept = RunRecords(files), read_run_records(files)
    for number, record in enumerate(kept):
        records.write(replace(record, url=f"https://wandb.example/line/runs/{number}"))
    write_report(options)
    for number, record in enumerate(kept):
        assert (
            f'href="https://wandb.example/line/runs/{number}">{record.study} {record.label}'.strip() in page.read_text()
        )
        records.write(record)


def test_wandbs_own_variables_name_the_runs(monkeypatch: pytest.MonkeyPatch, points: dict[object, WandbRun]) -> None:
    assert all(run.header["project"] == "goodshot" for run in points.values())
    assert Names.of_environment() == Names("line 4", tags=("cam2", "lot 7"))
    monkeypatch.setenv("WANDB_NAME", "night")
    monkeypatch.delenv("WANDB_PROJECT")
    monkeypatch.delenv("WANDB_TAGS")
    assert Names.of_environment() == Names("goodshot", name="night")


@pytest.mark.slow
def test_a_key_at_the_driver_reaches_the_runs_and_nothing_else(photographs: Path, tmp_path: Path) -> None:
    """On Ray, with a server that is gone: all files of the output and of Ray's session are searched."""
    (tmp_path / "study.yaml").write_text(to_yaml(sweep_of(photographs)))
    with tempfile.TemporaryDirectory(prefix="gs-") as ray_folder:
        secret = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": "http://127.0.0.1:9"}
        environment = {**os.environ, **secret, "RAY_TMPDIR": ray_folder, "RAY_worker_niceness": "0"}
        arguments = [tmp_path / "study.yaml", "--out", tmp_path / "out", "--cpus", "2"]
        command = [sys.executable, "-m", "goodshot.runner.cli", "sweep", *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
        assert done.returncode == 0, done.stderr
        assert "W&B could not be reached" in done.stdout
        assert len(wandb_runs(tmp_path / "out")) == POINTS + 1
        counts = [json.loads(path.read_text()) for path in (tmp_path / "out/runs").glob("*.json")]
        assert (counts[0]["tracked"], counts[0]["untracked"]) == (POINTS, 0)
        searched = [path for folder in (tmp_path, Path(ray_folder)) for path in folder.rglob("*")]
        files = [path for path in searched if path.is_file() and not path.is_symlink()]
        assert any("session_" in str(path) for path in files)
        assert not [path for path in files if KEY.encode() in path.read_bytes()]
        assert KEY not in done.stdout + done.stderr
