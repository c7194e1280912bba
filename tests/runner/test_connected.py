"""A process that is connected to a cluster already, such as a notebook's, runs studies there and stays connected."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import ray
from rich.console import Console

from goodshot.runner.results.results import Results
from goodshot.runner.run.execute import run_studies
from goodshot.runner.run.options import Options
from goodshot.runner.study.study import Study

SHARES_RAY = True


@pytest.mark.slow
def test_the_connection_stays_and_nothing_of_the_run(
    tiny_study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    job = ray.get_runtime_context().get_job_id()
    study = tiny_study(arms=["original"])
    for seed in (0, 1):
        further = study.model_copy(update={"support_seeds": (seed,)})
        _, run = run_studies([further], Options(str(tmp_path)), Console(quiet=True))
        assert (run.failed, run.cells, run.executed["detection"]) == (0, 1, 1)
        assert ray.is_initialized()
        assert ray.get_runtime_context().get_job_id() == job
        # The broker is gone, and its tasks' places are free.
        until = time.monotonic() + 30
        while ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"] and time.monotonic() < until:
            time.sleep(0.1)
        assert ray.available_resources()["CPU"] == ray.cluster_resources()["CPU"]
    assert len(Results(str(tmp_path)).finished()) == 2
