"""A Ray head with a dashboard and a token on loopback, in processes of its own, stopped by its own process group."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests

from tests.loopback import closed_port

START_SECONDS = 180.0
STARTS = 5
COMMAND = (sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--node-ip-address=127.0.0.1")


@dataclass(frozen=True)
class Head:
    """process: of ``ray start --block``, which leads the group of all the head's processes."""

    address: str
    url: str
    token: str
    folder: Path
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """End all its processes at once, as a machine that loses its power."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def ray_head(cpus: int = 2) -> Iterator[Head]:
    """A running head. Ray gives up a node that is not up after 30 s, which a busy machine needs: it is tried again."""
    for _ in range(STARTS):
        head = _started(cpus)
        try:
            if _takes_jobs(head):
                yield head
                return
            print((head.folder / "log").read_text())
        finally:
            head.kill()
            shutil.rmtree(head.folder, ignore_errors=True)
    raise RuntimeError(f"Ray did not start, {STARTS} times; its output is above")


def _started(cpus: int) -> Head:
    # Sockets lie in it, whose paths are limited to 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="rh"))
    token, port, dashboard = secrets.token_hex(32), closed_port(), closed_port()
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_worker_niceness": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # A node ends itself if its agent is not up in time, which on a busy machine it is not.
        "RAY_agent_register_timeout_ms": "300000",
        "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300",
        "WANDB_MODE": "disabled",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    # The code of a job comes with the job.
    for name in ("PYTHONPATH", "RAY_ADDRESS", "RAY_AUTH_TOKEN_PATH"):
        environment.pop(name, None)
    options = [
        f"--num-cpus={cpus}", f"--port={port}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
        f"--temp-dir={folder / 'ray'}", f"--object-store-memory={128 * 2**20}", "--min-worker-port=0",
        "--max-worker-port=0", f"--ray-client-server-port={closed_port()}", "--dashboard-agent-listen-port=0",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*COMMAND, *options], env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
    return Head(f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}", token, folder, process)


def _takes_jobs(head: Head) -> bool:
    """Wait until jobs can be submitted, which is later than the dashboard's first answer."""
    headers = {"Authorization": f"Bearer {head.token}"}
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and head.process.poll() is None:
        if "Ray runtime started" in (head.folder / "log").read_text():
            with suppress(requests.RequestException):
                if requests.get(f"{head.url}/api/jobs/", headers=headers, timeout=5).status_code == 200:
                    return True
        time.sleep(0.5)
    return False
