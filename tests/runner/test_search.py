"""Searches: what their points are, what is refused, and that a killed one goes on and says what its choice rests on."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from goodshot.runner.cli import main
from goodshot.runner.named import load_study
from goodshot.runner.plan.plan import point_key
from goodshot.runner.results.results import Results
from goodshot.runner.results.trials import Ledger, Report, TrialRecord, chosen, reported, search_identity
from goodshot.runner.run.execute import plan_studies
from goodshot.runner.run.options import Options
from goodshot.runner.stages.image_sets import checkpoints
from goodshot.runner.stages.training import TrainingStage
from goodshot.runner.store.artifacts import Store
from goodshot.runner.study.search import extreme_points, points_of
from goodshot.runner.study.settings import to_yaml
from goodshot.runner.study.study import Study
from tests.conftest import TINY
from tests.runner.loopback_nodes import add_node, loopback_cluster, started, until

SHARES_RAY = True

ROOT = Path(__file__).parents[2]
TRIALS = 3
RANGES = {"vq_weight": {"low": 0.1, "high": 10.0, "log": True}, "copies": {"low": 1, "high": 4}}


def test_a_grid_over_any_field_is_the_product(tiny_study: Callable[..., Study]) -> None:
    space = {"variance": ["estimated", "unit"], "generator.learning_rate": [1e-3, 2e-3]}
    points = points_of(tiny_study(copies=[2, 3], search={"space": space}))
    assert len(points) == 8
    assert points[0] == {
        "vq_weight": 1.0, "copies": 2, "iterations": 4, "variance": "estimated", "generator.learning_rate": 1e-3,
    }  # fmt: skip


def test_random_points_lie_in_their_ranges_and_repeat(tiny_study: Callable[..., Study]) -> None:
    space = {**RANGES, "iterations": {"low": 2, "high": 10, "step": 2}, "generator.commitment": {"low": 0, "high": 1}}
    study = tiny_study(search={"algorithm": "random", "trials": 50, "space": space})
    points = points_of(study)
    assert points == points_of(study)
    assert len({point_key(p) for p in points}) == 50
    assert {p["copies"] for p in points} == {1, 2, 3, 4}
    assert {p["iterations"] for p in points} == {2, 4, 6, 8, 10}
    assert all(0.1 <= p["vq_weight"] <= 10 for p in points)
    # Log-uniform: as many below 1 as above.
    assert 15 <= sum(p["vq_weight"] < 1 for p in points) <= 35
    # Whole ends do not make a field of real numbers a whole one.
    assert any(p["generator.commitment"] % 1 for p in points)


@pytest.mark.parametrize(("low", "high", "step", "values"), [(0.1, 0.7, 0.1, 7), (0.1, 1.0, 0.1, 10), (0, 3, 1.5, 3)])
def test_a_step_that_has_no_exact_binary_form_divides_its_range(
    low: float, high: float, step: float, values: int, tiny_study: Callable[..., Study]
) -> None:
    space = {"vq_weight": {"low": low, "high": high, "step": step}}
    points = points_of(tiny_study(search={"algorithm": "random", "trials": 50, "space": space}))
    assert len(points) == values
    assert max(p["vq_weight"] for p in points) == pytest.approx(high)


def test_a_small_space_is_drawn_once(tiny_study: Callable[..., Study]) -> None:
    study = tiny_study(copies=[1, 2, 3], search={"algorithm": "random", "trials": 20})
    assert sorted(p["copies"] for p in points_of(study)) == [1, 2, 3]


def test_a_search_survives_yaml_and_asks_for_all_that_its_points_need(
    tiny_study: Callable[..., Study], tmp_path: Path
) -> None:
    space = {"detectors.0.name": ["patchcore", "padim"], "vq_weight": {"low": 1, "high": 2}}
    study = tiny_study(objective="planted", search={"algorithm": "optuna", "space": space})
    (tmp_path / "study.yaml").write_text(to_yaml(study))
    assert load_study(str(tmp_path / "study.yaml")) == study
    assert {point.detectors[0].name for point in extreme_points(study)} == {"patchcore", "padim"}


def test_points_that_share_a_training_are_planned_on_one(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    space = {"vq_weight": [0.5, 1.0], "copies": {"low": 1, "high": 6}, "post_augment": ["none", "strong"]}
    study = tiny_study(iterations=[2, 4], search={"algorithm": "random", "trials": 12, "space": space})
    plan = plan_studies([study], Options(str(tmp_path)))
    assert len(plan.trials_of["tiny"]) == 12
    assert len(plan.of(TrainingStage)) == 2
    for trial in plan.trials_of["tiny"]:
        (fingerprints,) = trial.cells.values()
        generated = [plan.cells[f].cell for f in fingerprints if plan.cells[f].cell.arm.name == "generated"]
        assert [cell.copies for cell in generated] == [trial.values["copies"]]


def record(started: float, *reports: tuple[int, float]) -> TrialRecord:
    return TrialRecord("t", started, {"vq_weight": started}, "complete", tuple(Report(n, v, ()) for n, v in reports))


def test_the_chosen_point_is_the_best_that_has_all_its_cells() -> None:
    records = [record(1, (10, 0.5), (20, 0.4)), record(2, (10, 0.5)), record(3, (10, math.nan)), record(4)]
    best = chosen(records)
    assert best is records[0]
    assert best.point == {"vq_weight": 1, "iterations": 10}
    assert chosen(records[2:]) is None


def test_another_space_is_another_search_and_more_trials_are_not(tiny_study: Callable[..., Study]) -> None:
    one = tiny_study(search={"algorithm": "random", "trials": 5, "space": RANGES})
    more = tiny_study(search={"algorithm": "random", "trials": 9, "space": RANGES})
    other = tiny_study(search={"algorithm": "random", "trials": 5, "space": {"copies": RANGES["copies"]}})
    assert search_identity(one) == search_identity(more) != search_identity(other)


def test_what_a_trial_reports_is_read_back(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    ledger = Ledger(Results(str(tmp_path)), tiny_study())
    begun = ledger.begin({"vq_weight": 0.5, "variance": "unit"})
    later = ledger.begin({"vq_weight": 0.7, "variance": "unit"})
    ended = ledger.write(reported(reported(begun, Report(8, 0.25, ("b",))), Report(4, math.inf, ("a", "c"))))
    assert ledger.read() == [ended, later]
    assert Ledger(Results(str(tmp_path)), tiny_study(copies=[3])).read() == []


@pytest.fixture
def search(photographs: Path, tmp_path: Path) -> Path:
    """Optuna suggests and ASHA gives up."""
    fields: dict[str, Any] = {
        **TINY,
        "name": "search",
        "dataset": {"name": "demo", "root": str(photographs)},
        "arms": ["generated"],
        "iterations": [4, 8],
        "search": {
            "algorithm": "optuna", "scheduler": "asha", "trials": TRIALS, "reduction": 2, "concurrent": 2,
            "space": {**RANGES, "variance": ["estimated", "unit"]},
        },
    }  # fmt: skip
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(fields))
    return path


@pytest.mark.slow
def test_a_search_goes_on_and_names_what_its_choice_rests_on(
    search: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    command = ["sweep", str(search), "--out", str(out), "--cpus", "2"]
    assert main([*command, "--set", "search.trials=2"]) == 0
    before = Ledger(Results(str(out)), load_study(str(search))).read()
    capsys.readouterr()
    records = _finished(command, before, out, capsys)
    assert main(command) == 0
    assert "stages executed: 0 (none)" in capsys.readouterr().out
    assert main(["verify", str(out)]) == 0
    first = records[0]
    Ledger(Results(str(out)), load_study(str(search))).write(reported(first, replace(first.reports[0], value=0.99)))
    assert main(["verify", str(out)]) == 1
    assert f"trial {first.name} at L = 4: says similarity 0.990000, and its rows" in capsys.readouterr().out


@pytest.mark.slow
def test_a_killed_search_goes_on(
    search: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two minutes."""
    out = tmp_path / "out"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    # Enough points that some are left when it is killed.
    command = ["sweep", str(search), "--out", str(out), "--cpus", "2", "--set", "search.trials=5"]
    ledger = Ledger(Results(str(out)), load_study(str(search)))
    assert _killed_when(command, lambda: sum(bool(r.reports) for r in ledger.read()) >= 2)
    before = ledger.read()
    assert 2 <= len(before) < 5
    _finished(command, before, out, capsys, trials=5)


@pytest.mark.slow
def test_a_guided_search_tries_more_points_at_once_on_nodes_that_join(search: Path, tmp_path: Path) -> None:
    fields = yaml.safe_load(search.read_text())
    del fields["search"]["concurrent"]
    fields["search"] |= {"scheduler": "fifo", "trials": 8}
    # So long that no point is finished before the node has joined.
    search.write_text(yaml.safe_dump({**fields, "iterations": [4000]}))
    out, printed = tmp_path / "out", tmp_path / "printed"
    ledger = Ledger(Results(str(out)), load_study(str(search)))
    with loopback_cluster() as cluster:
        add_node(cluster, 1)
        command = ["sweep", str(search), "--out", str(out), "--address", cluster.address]
        with started(command, printed) as process:
            until(lambda: sum(r.state == "running" for r in ledger.read()) == 2, process)
            add_node(cluster, 2)
            # One more than the three CPUs.
            until(lambda: sum(r.state == "running" for r in ledger.read()) == 4, process)


def _finished(
    command: list[str], before: list[TrialRecord], out: Path, capsys: pytest.CaptureFixture[str], trials: int = TRIALS
) -> list[TrialRecord]:
    """The trials of a search that has begun with some, and now is finished."""
    assert main(command) == 0
    records, rows = Ledger(Results(str(out)), load_study(command[1])).read(), Results(str(out)).rows()
    assert len(records) == trials
    # The same trials first, under their own names; their reports stand.
    assert [(r.name, r.values) for r in records[: len(before)]] == [(r.name, r.values) for r in before]
    for old, new in zip(before, records, strict=False):
        assert set(old.reports) <= set(new.reports)
    assert {r.state for r in records} <= {"complete", "stopped"}
    for each in records:
        assert all(f in rows for report in each.reports for f in report.fingerprints)
    # No training went further than its trial was let. One that had been let go on when it was killed may have, whose
    # report is judged anew beside others.
    let = {r.name: r.reports[-1].iterations - 1 for r in records}
    further = {name for name, updates in _trained(out, records).items() if updates != let[name]}
    assert further <= {r.name for r in before if r.state == "running"}
    best = chosen(records)
    assert best is not None
    assert best.best is not None
    (similarity,) = [rows[f]["similarity"] for f in best.best.fingerprints if rows[f]["arm"] == "generated"]
    assert best.best.value == similarity == max(r.best.value for r in records if r.best)
    assert f"chosen by similarity among {trials} points: {best.label}" in capsys.readouterr().out
    own = load_study(str(out / "chosen/search.yaml"))
    assert {*plan_studies([own], Options(str(out))).cells} == {*best.best.fingerprints}
    return records


def _killed_when(command: list[str], seen: Callable[[], bool]) -> bool:
    """Start goodshot and kill its whole process group once something is seen."""
    process = subprocess.Popen(
        [sys.executable, "-m", "goodshot.runner.cli", *command],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while process.poll() is None and not seen():
            time.sleep(0.2)
        return process.poll() is None
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _trained(out: Path, records: list[TrialRecord]) -> dict[str, int]:
    """By trial, after how many updates its furthest checkpoint was left."""
    cells = {cell["fingerprint"]: cell for cell in json.loads((out / "studies/search.cells.json").read_text())}
    store = Store(str(out / "store"))
    found = {}
    for each in records:
        (key,) = {key for r in each.reports for f in r.fingerprints for key in cells[f]["trainings"]}
        found[each.name] = max(checkpoints(store, key))
    return found
