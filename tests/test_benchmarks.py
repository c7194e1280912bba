"""Benchmarks, run tiny: what they measure is not tested, that they work is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.scheduling.cluster import Node
from benchmarks.scheduling.simulation import simulate
from goodshot.runner.run.execute import plan_studies
from goodshot.runner.run.options import Options
from goodshot.runner.study.study import Study

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["fusion_gpu", "generator_gpu"])
def test_a_benchmark_of_a_gpu_works_tiny_on_the_cpu(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", name], cwd=ROOT, env={**os.environ, "GOODSHOT_BENCH_TINY": "1"},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "tiny" in done.stdout
    assert "does not run here" not in done.stdout


@pytest.mark.parametrize("losses", [0.0, 20.0])
def test_the_scheduler_runs_on_a_virtual_clock(tiny_study: Callable[..., Study], tmp_path: Path, losses: float) -> None:
    study = tiny_study(support_seeds=[0, 1], vq_weight=[0.5, 1.0], iterations=[4, 8])
    plan = plan_studies([study], Options(str(tmp_path)))
    nodes = [Node(f"{i:056x}", 2, 0) for i in range(2)]
    found = simulate(plan, nodes, losses_an_hour=losses, seconds=lambda stage, wanted: 100.0, start=5.0)
    assert found.cells == len(plan.cells)
    assert found.trainings >= 4
    assert found.bound <= found.seconds < (2 if not losses else 10) * found.bound
    assert bool(found.losses) == bool(losses)
