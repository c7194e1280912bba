"""Ctrl-C: the run ends, what is finished is kept, nothing stays leased, and the same command goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from goodshot.runner.cli import main
from goodshot.runner.results.results import Results
from goodshot.runner.store.leases import FOLDER
from tests.conftest import TINY

ROOT = Path(__file__).parents[2]
HEEDS_CTRL_C = """
import signal, sys
from goodshot.runner.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main(sys.argv[1:]))
"""
"""The command, though these tests may run in the background of a shell, where Ctrl-C is ignored."""


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, id="Ctrl-C"),
        pytest.param(signal.SIGTERM, 143, id="SIGTERM", marks=pytest.mark.slow),
    ],
)
def test_what_is_finished_is_kept_and_the_rest_is_free(
    number: signal.Signals,
    code: int,
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    out, study = tmp_path / "out", tmp_path / "study.yaml"
    fields = {**TINY, "arms": ["original", "generated"], "iterations": [4, 4000], "copies": [2]}
    study.write_text(yaml.safe_dump({**fields, "dataset": {"name": "demo", "root": str(photographs)}}))
    command = ["sweep", str(study), "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-c", HEEDS_CTRL_C, *command, "--cpus", "2"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    finished = Results(str(out))
    while process.poll() is None and len(finished.finished()) < 2:
        time.sleep(0.2)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == code, printed
    assert "stopped; finished cells are kept, the same command continues" in printed
    assert "Traceback" not in printed
    assert "***" not in printed, "Ray prints its stack"
    for place in (out, out / "store"):
        assert not list((place / FOLDER).glob("*")), place
    kept = finished.finished()
    assert len(kept) == 2
    (run,) = [json.loads(path.read_text()) for path in (out / "runs").glob("*.json")]
    # The last row may lie there before the broker has heard of it.
    assert run["executed"]["detection"] in (1, 2)
    fields["iterations"] = [4, 8]
    study.write_text(yaml.safe_dump({**fields, "dataset": {"name": "demo", "root": str(photographs)}}))
    assert main([*command, "--local"]) == 0
    assert "2 finished, 1 to run" in capfd.readouterr().out
