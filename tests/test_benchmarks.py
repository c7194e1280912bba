"""Benchmarks of accelerators, run tiny on the CPU: what they measure is not tested, that they work is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
