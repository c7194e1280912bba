"""docs/cluster/slurm.sbatch, run for real on loopback: Slurm's own commands are small scripts first on the PATH."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from goodshot.runner.results.results import Results
from goodshot.runner.study.settings import to_yaml
from goodshot.runner.study.study import Study
from tests.own_address import own_address

SCRIPT = Path(__file__).parents[1] / "docs" / "cluster" / "slurm.sbatch"

# srun: drops its own options and becomes the command. It notes its process, and what others could read of it.
FAKES = {
    "scontrol": 'test "$1 $2 $3" = "show hostnames node[0-1]" && printf "node0\\nnode1\\n"',
    "hostname": 'echo "$ADDRESS"',
    "srun": 'while [[ $1 == --* ]]; do shift; done; echo "$$ $*" >> "$STARTED"; exec "$@"',
}


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """The environment of a job with two nodes of one CPU."""
    fakes = tmp_path / "bin"
    fakes.mkdir()
    for name, body in FAKES.items():
        (fakes / name).write_text(f"#!/bin/bash\n{body}\n")
        (fakes / name).chmod(0o755)
    home = tmp_path / "goodshot"
    home.mkdir()
    (home / ".venv").symlink_to(Path(sys.executable).parents[1])
    job = {
        "GOODSHOT_HOME": str(home),
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": "node[0-1]",
        "SLURM_CPUS_PER_TASK": "1",
        "STARTED": str(tmp_path / "started"),
        "ADDRESS": own_address(),
        "RAY_worker_niceness": "0",
        "WANDB_MODE": "disabled",
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**inherited, **job, "PATH": f"{fakes}:{os.environ['PATH']}"}


def submit(slurm: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", str(SCRIPT), *arguments], env=slurm, capture_output=True, text=True, timeout=900)


def started(slurm: dict[str, str]) -> list[tuple[int, str]]:
    lines = [line.split(" ", 1) for line in Path(slurm["STARTED"]).read_text().splitlines()]
    return [(int(process), command) for process, command in lines]


@pytest.mark.slow
def test_a_job_runs_a_study_on_its_nodes_and_leaves_nothing(
    slurm: dict[str, str], tiny_study: Callable[..., Study], tmp_path: Path
) -> None:
    (tmp_path / "study.yaml").write_text(to_yaml(tiny_study()))
    out = tmp_path / "out"
    done = submit(slurm, "sweep", str(tmp_path / "study.yaml"), "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert len(Results(str(out)).finished()) == 3
    commands = [command for _, command in started(slurm)]
    assert sum(command.startswith("ray start --head ") for command in commands) == 1
    assert sum(command.startswith(f"ray start --address={slurm['ADDRESS']}:") for command in commands) == 1
    assert "left out" not in done.stdout
    for process, _ in started(slurm):
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
    assert not Path(f"/tmp/ray-{slurm['SLURM_JOB_ID']}").exists()
    # The job ends with the command's own exit code.
    assert submit(slurm, "sweep", "no-such-study", "--out", str(out)).returncode == 2
