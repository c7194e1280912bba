"""How long a submitted study takes to its first stage: ``goodshot submit`` to a Ray head on this machine.

From the start of the command on the laptop's side to the first stage that a node runs: the client's start, the
package, Ray's job, the driver's imports, its checks of the nodes, the plan and the worker's start. The first submission
of a cluster also sends the code, and its workers import torch for the first time; later ones are warm. Against a Ray
job that only prints a line, in the same run on the same head.

    python -m benchmarks.submission
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import requests
import yaml

from goodshot.components.data import write_demo

ROOT = Path(__file__).parents[1]
PORT, DASHBOARD = 26379, 28265
SUBMISSIONS = 3
GOODSHOT = (sys.executable, "-m", "goodshot.runner")
RAY = (sys.executable, "-m", "ray.scripts.scripts")


def main() -> str:
    """Return the seconds to the first stage of the first and of later submissions, and those of a bare Ray job."""
    with tempfile.TemporaryDirectory(prefix="bs") as folder, _head(Path(folder)) as environment:
        root = write_demo(Path(folder) / "photographs")
        bare = [_bare_job(environment) for _ in range(SUBMISSIONS)]
        cold, *warm = [_first_stage(Path(folder), root, number, environment) for number in range(SUBMISSIONS)]
    return (
        f"submission: first stage after {min(warm):.1f} s warm ({', '.join(f'{s:.1f}' for s in warm)}), {cold:.1f} s "
        f"the first time; a Ray job that prints a line {min(bare):.1f} s: {min(warm) / min(bare):.1f} times as long"
    )


def _first_stage(folder: Path, root: Path, number: int, environment: Mapping[str, str]) -> float:
    """Seconds from the command to the first stage that runs or has run, as ``status.json`` tells it."""
    study, out = folder / f"study{number}.yaml", folder / f"out{number}"
    network = {"channels": 8, "channel_multipliers": [1, 2], "latent_channels": 8, "codebook_size": 32}
    fields = {
        "name": f"submitted{number}", "dataset": {"name": "demo", "root": str(root)}, "categories": ["coin"],
        "support_seeds": [number], "arms": ["original", "generated"], "copies": [2], "iterations": [20],
        "generator": {"resolution": 32, "perceptual": "none", "vqgan": network}, "detectors": [{"image_size": 64}],
    }  # fmt: skip
    study.write_text(yaml.safe_dump(fields))
    began = time.perf_counter()
    command = [*GOODSHOT, "submit", str(study), "--out", str(out)]
    process = subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    seconds = None
    while seconds is None and process.poll() is None:
        with suppress(OSError, ValueError):
            status = json.loads((out / "status.json").read_text())
            if status["running"] or status["executed"]:
                seconds = time.perf_counter() - began
        time.sleep(0.05)
    printed, _ = process.communicate()
    if process.returncode or seconds is None:
        raise AssertionError(printed.decode())
    return seconds


def _bare_job(environment: Mapping[str, str]) -> float:
    """Seconds of a Ray job that prints a line, until its client has ended."""
    began = time.perf_counter()
    subprocess.run([*RAY, "job", "submit", "--", "echo", "done"], env=environment, check=True, capture_output=True)
    return time.perf_counter() - began


@contextmanager
def _head(folder: Path) -> Iterator[Mapping[str, str]]:
    """Start a head with a token; yields the environment of a laptop that may use it."""
    token = secrets.token_hex(32)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    inherited |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "WANDB_MODE": "disabled"}
    inherited["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    options = [
        "start", "--head", "--block", "--node-ip-address=127.0.0.1", "--num-cpus=2", f"--port={PORT}",
        "--dashboard-host=127.0.0.1", f"--dashboard-port={DASHBOARD}", f"--temp-dir={folder / 'ray'}",
        f"--object-store-memory={128 * 2**20}",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*RAY, *options], env=inherited, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
    url = f"http://127.0.0.1:{DASHBOARD}"
    try:
        _wait_for_jobs(url, token, process)
        yield {**inherited, "RAY_API_SERVER_ADDRESS": url, "RAY_ADDRESS": url, "PYTHONPATH": str(ROOT / "src")}
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for_jobs(url: str, token: str, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with suppress(requests.RequestException):
            headers = {"Authorization": f"Bearer {token}"}
            if requests.get(f"{url}/api/jobs/", headers=headers, timeout=5).status_code == 200:
                return
        time.sleep(0.2)
    raise AssertionError("the head did not start")


if __name__ == "__main__":
    print(main())
