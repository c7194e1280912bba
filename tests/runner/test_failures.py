"""Cells that fail: tried again up to a limit, then skipped; or the first one ends the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from goodshot.runner.cli import main
from goodshot.runner.results.results import Results
from tests.conftest import TINY

SHARES_RAY = True

# One cell of each support cannot be trained: a learning rate that no image survives.
BROKEN = {"name": "cflow", "steps": 2, "learning_rate": 1e18, "image_size": 64}


@pytest.fixture
def study(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    path = tmp_path / "study.yaml"
    fields = {**TINY, "arms": ["original"], "detectors": [{"image_size": 64}, BROKEN]}
    path.write_text(yaml.safe_dump({**fields, "dataset": {"name": "demo", "root": str(photographs)}}))
    return path


def tries(out: Path) -> list[int]:
    return list(Results(str(out)).tries().values())


def test_a_cell_that_fails_three_times_is_left_alone(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["sweep", str(study), "--out", str(out), "--local"]
    assert main(command) == 1
    said = capsys.readouterr()
    assert "1 of 2 cells failed" in said.err
    (log,) = (out / "logs").iterdir()
    assert "failed: coin seed=0 original copies=0 cflow-" in said.out
    assert f"(logs/{log.name})" in said.out
    assert 'File "' in log.read_text()
    assert log.read_text().startswith("tiny: coin seed=0 original copies=0 cflow-")
    assert tries(out) == [1]
    # As the third of three runs would have left it.
    results = Results(str(out))
    (failure,) = results.read("failures").to_pylist()
    results._write("failures", failure["fingerprint"], [{**failure, "tries": 3}])
    assert main(command) == 1
    said = capsys.readouterr()
    assert "1 finished, 0 to run, 1 skipped after 3 failures (--retry tries them)" in said.out
    assert "1 of 2 cells are skipped, having failed 3 times" in said.err
    assert "stages executed: 0" in said.out
    assert main([*command, "--retry"]) == 1
    assert "1 of 2 cells failed" in capsys.readouterr().err
    assert tries(out) == [4]


@pytest.mark.parametrize(
    "where",
    [
        pytest.param(("--local",), id="in this process"),
        pytest.param(("--cpus", "2"), id="on Ray", marks=pytest.mark.slow),
    ],
)
def test_fail_fast_ends_at_the_first_failure(
    where: tuple[str, ...], study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sound cells would train for hours."""
    fields = yaml.safe_load(study.read_text())
    fields["detectors"] = [BROKEN, {"name": "cflow", "alias": "long", "steps": 100_000, "image_size": 64}]
    study.write_text(yaml.safe_dump(fields))
    out = tmp_path / "out"
    assert main(["sweep", str(study), "--out", str(out), "--fail-fast", *where]) == 1
    said = capsys.readouterr()
    assert "ended at the first failed cell (--fail-fast)" in said.err
    assert "failed: coin seed=0 original copies=0 cflow-" in said.out
    (log,) = (out / "logs").iterdir()
    assert 'File "' in log.read_text()
    assert tries(out) == [1]
    (record,) = (out / "runs").glob("*.json")
    assert json.loads(record.read_text())["halted"]
