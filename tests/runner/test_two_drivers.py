"""Two drivers on one store, each with a Ray of its own: every stage runs once in total, and both finish."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

from goodshot.runner.results.results import Results
from goodshot.runner.store.leases import FOLDER
from tests.conftest import TINY

ROOT = Path(__file__).parents[2]
STUDY = {**TINY, "name": "two_drivers", "support_seeds": [0, 1], "copies": [2], "iterations": [4]}


def start(study: Path, out: Path, store: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "goodshot.runner.cli", "sweep", str(study), "--cpus", "1"]
    environment = {**os.environ, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, "--out", str(out), "--store", str(store)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def executed(*outs: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    for path in {path for out in outs for path in (out / "runs").glob("*.json")}:
        found.update(json.loads(path.read_text())["executed"])
    return found


@pytest.fixture
def study(photographs: Path, tmp_path: Path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({**STUDY, "dataset": {"name": "demo", "root": str(photographs)}}))
    return path


@pytest.mark.slow
def test_each_stage_runs_once_in_total(study: Path, tmp_path: Path) -> None:
    out, store = tmp_path / "out", tmp_path / "store"
    both = [start(study, out, store) for _ in range(2)]
    printed = [driver.communicate(timeout=500)[0] for driver in both]
    assert [driver.returncode for driver in both] == [0, 0], printed
    rows = Results(str(out)).rows()
    assert executed(out) == {"shard": 1, "prompt": 2, "generator": 2, "detection": len(rows)}
    assert len(rows) == 2 * 3
    assert not list((store / FOLDER).iterdir())
    assert not list((out / FOLDER).iterdir())


@pytest.mark.slow
def test_studies_of_their_own_outs_share_the_stages_of_one_store(study: Path, tmp_path: Path) -> None:
    outs, store = [tmp_path / "one", tmp_path / "two"], tmp_path / "store"
    both = [start(study, out, store) for out in outs]
    printed = [driver.communicate(timeout=500)[0] for driver in both]
    assert [driver.returncode for driver in both] == [0, 0], printed
    one, two = (Results(str(out)).rows() for out in outs)
    assert executed(*outs) == {"shard": 1, "prompt": 2, "generator": 2, "detection": len(one) + len(two)}
    assert {f: row["image_auroc"] for f, row in one.items()} == {f: row["image_auroc"] for f, row in two.items()}


@pytest.mark.slow
def test_what_a_killed_driver_was_at_is_taken_over(study: Path, tmp_path: Path) -> None:
    out, store = tmp_path / "out", tmp_path / "store"
    first = start(study, out, store)
    try:
        deadline = time.monotonic() + 300
        while not list((store / FOLDER).glob("*.json")) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        # It and its own Ray, by the process group that was made for them.
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
    second = start(study, out, store)
    printed = second.communicate(timeout=500)[0]
    assert second.returncode == 0, printed
    assert len(Results(str(out)).rows()) == 2 * 3
    assert not list((store / FOLDER).glob("*.json"))
