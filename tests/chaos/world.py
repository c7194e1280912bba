"""The world that faults are done to: a study, a cluster of processes, a driver, and what they have made so far."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml
from ray.cluster_utils import Cluster

from goodshot.runner.results.results import Results
from tests.conftest import TINY
from tests.runner.loopback_nodes import ROOT, add_node, loopback_cluster

MARK = "GOODSHOT_CHAOS"
"""An environment variable that all processes of a run inherit, by which those that outlive it are found."""
NODES = 2
"""How many nodes a cluster has at first; each has one CPU, its head none."""
STUDY: Mapping[str, Any] = {
    **TINY,
    "name": "chaos",
    "support_seeds": [0, 1],
    "arms": ["original", "augmented", "generated"],
    "vq_weight": [0.5, 1.0],
    "copies": [2, 3],
    "iterations": [4, 60],
    "resources": {"silence_seconds": 20},
}
"""Twenty cells, four trainings of two image sets each, two prompts and a shard."""
MADE = ("shard", "prompt", "image_set", "checkpoint")


@dataclass(frozen=True)
class Reference:
    """What an undisturbed run of the study leaves: the measured values of each row, by fingerprint."""

    study: Path
    values: dict[str, tuple[Any, ...]]


def measured(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """All values of each row that do not depend on the machine, the time or the code, by fingerprint."""
    left_out = ("seconds_", "commit", "versions", "device")
    return {
        fingerprint: tuple((name, repr(value)) for name, value in sorted(row.items()) if not name.startswith(left_out))
        for fingerprint, row in rows.items()
    }


def undisturbed(photographs: Path, folder: Path) -> Reference:
    """Run the study in one process."""
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump({**STUDY, "dataset": {"name": "demo", "root": str(photographs)}}))
    command = [sys.executable, "-m", "goodshot.runner.cli", "sweep", str(file), "--out", str(folder / "out"), "--local"]
    subprocess.run(command, cwd=ROOT, env=environment(), check=True, stdout=subprocess.DEVNULL)
    return Reference(file, measured(Results(str(folder / "out")).rows()))


def environment(**more: str) -> dict[str, str]:
    """The environment of every command."""
    return {**os.environ, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1", **more}


@dataclass
class Driver:
    """One execution of the command, and what it has printed."""

    process: subprocess.Popen[str]
    printed: Path

    @property
    def text(self) -> str:
        """What the command has printed so far."""
        return self.printed.read_text()


@dataclass
class World:
    """One run under faults.

    folder: holds everything that the run writes.
    out, store: where the study writes its results and artifacts.
    """

    reference: Reference
    folder: Path
    out: str = ""
    store: str = ""
    tracked: bool = False
    """Whether W&B runs are written, offline."""
    together: int = 1
    """How many drivers run the command at once."""
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    cluster: Cluster | None = None
    drivers: list[Driver] = field(default_factory=list)
    undo: ExitStack = field(default_factory=ExitStack)
    """What a fault has to take back at the latest before the study is finished."""

    def __post_init__(self) -> None:
        self.out = self.out or str(self.folder / "out")
        self.store = self.store or str(self.folder / "store")
        self._cluster_stack = ExitStack()
        os.environ[MARK] = self.mark

    # The cluster.

    def ensure_cluster(self) -> None:
        """Start a cluster if there is none, and nodes if it has fewer than at first."""
        if self.cluster is not None and not self.has_head:
            self.end_cluster()
        if self.cluster is None:
            self.cluster = self._cluster_stack.enter_context(loopback_cluster(include_dashboard=False))
        self.add_nodes()

    def add_nodes(self, count: int = NODES) -> None:
        """Add nodes until the cluster has so many that live."""
        assert self.cluster is not None
        for _ in range(count - len(self.nodes())):
            add_node(self.cluster)

    @property
    def has_head(self) -> bool:
        """Whether the processes of the head live."""
        if self.cluster is None or self.cluster.head_node is None:
            return False
        return all(_lives(each[0].process.pid) for each in self.cluster.head_node.all_processes.values() if each)

    def nodes(self) -> list[Any]:
        """The nodes with CPUs whose raylet lives."""
        if self.cluster is None:
            return []
        return [node for node in self.cluster.worker_nodes if _lives(raylet_of(node).pid)]

    def end_cluster(self) -> None:
        """Stop all processes of the cluster by their ids."""
        with suppress(Exception):  # those that a fault has killed cannot be stopped
            self._cluster_stack.close()
        self._cluster_stack, self.cluster = ExitStack(), None

    # The driver.

    def start(self) -> Driver:
        """Start the command."""
        assert self.cluster is not None
        printed = self.folder / f"printed-{len(self.drivers)}"
        command = ["sweep", str(self.reference.study), "--out", self.out, "--store", self.store]
        mode = "offline" if self.tracked else "disabled"
        with printed.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "goodshot.runner.cli", *command, "--address", self.cluster.address],
                cwd=ROOT,
                env=environment(**{MARK: self.mark, "WANDB_MODE": mode}),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        self.drivers.append(Driver(process, printed))
        return self.drivers[-1]

    @property
    def running(self) -> list[Driver]:
        """The drivers that have not ended."""
        return [driver for driver in self.drivers if driver.process.poll() is None]

    # What there is.

    def made(self) -> int:
        """How many rows and artifacts there are, and how many training steps were made."""
        rows = 0
        with suppress(Exception):  # the output may just be unreachable
            rows = len(Results(self.out).finished())
        steps = 0
        for path in Path(self.out).glob("runs/*.json"):
            with suppress(OSError, ValueError):
                steps += sum(json.loads(path.read_text()).get("generator_steps", {}).values())
        artifacts = sum(len([*(Path(self.store) / kind).glob("*")]) for kind in MADE)
        return rows + artifacts + steps

    def workers(self, *titles: str) -> list[psutil.Process]:
        """The processes of Ray on any node whose title begins with one of these words, in the order of their ids."""
        return sorted(self._workers(titles), key=lambda process: process.pid)

    def _workers(self, titles: Sequence[str]) -> Iterator[psutil.Process]:
        if self.cluster is None:
            return
        for node in (self.cluster.head_node, *self.cluster.worker_nodes):
            with suppress(psutil.Error):
                for child in psutil.Process(raylet_of(node).pid).children(recursive=True):
                    with suppress(psutil.Error):
                        if " ".join(child.cmdline()).startswith(titles):
                            yield child

    def close(self) -> None:
        """End the driver and the cluster."""
        self.undo.close()
        for driver in self.drivers:
            if driver.process.poll() is None:
                driver.process.kill()
                driver.process.wait()
        self.end_cluster()

    def left_behind(self) -> list[str]:
        """The command lines of processes that have outlived the driver and the cluster."""
        found = []
        for process in psutil.process_iter(["pid"]):
            with suppress(psutil.Error):
                if process.pid != os.getpid() and process.environ().get(MARK) == self.mark:
                    found.append(" ".join(process.cmdline())[:120])
        return found

    def kill_left_behind(self) -> None:
        """Kill them, so that they do not disturb the next run."""
        for process in psutil.process_iter(["pid"]):
            with suppress(psutil.Error):
                if process.pid != os.getpid() and process.environ().get(MARK) == self.mark:
                    process.kill()


def raylet_of(node: Any) -> subprocess.Popen[bytes]:
    """The raylet process of a node."""
    raylet: subprocess.Popen[bytes] = node.all_processes["raylet"][0].process
    return raylet


def gcs_of(node: Any) -> subprocess.Popen[bytes]:
    """The process of a head that keeps the cluster's state."""
    gcs: subprocess.Popen[bytes] = node.all_processes["gcs_server"][0].process
    return gcs


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def wait_until(condition: Callable[[], Any], seconds: float) -> bool:
    """Wait for a condition; returns whether it came true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


def end(process: psutil.Process | subprocess.Popen[Any], number: signal.Signals) -> bool:
    """Send a signal; returns whether there was such a process."""
    try:
        process.send_signal(number)
    except (psutil.Error, ProcessLookupError):
        return False
    return True
