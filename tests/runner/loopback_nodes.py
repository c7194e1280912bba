"""A Ray cluster of several nodes as processes on loopback, and studies that run on it from a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray._private import ray_constants
from ray.cluster_utils import Cluster

ROOT = Path(__file__).parents[2]
FAST_DETECTION = {
    f"RAY_health_check_{name}": str(value)
    for name, value in {
        "initial_delay_ms": 1000,
        "period_ms": 1000,
        "timeout_ms": 10_000,
        "failure_threshold": 5,
    }.items()
}
"""A killed node is noticed after five seconds, and a busy one is not taken for dead."""


@contextmanager
def loopback_cluster(**head: Any) -> Iterator[Cluster]:
    """A cluster with a head without CPUs; its processes are stopped by their ids."""
    with pytest.MonkeyPatch.context() as patch:
        # Ray takes a loopback address for that of a single machine, and waits for ever on another one: as it is
        # imported by now, it has to be told here too.
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)
        for name, value in {**FAST_DETECTION, "RAY_worker_niceness": "0", "WANDB_MODE": "disabled"}.items():
            patch.setenv(name, value)
        arguments = {"num_cpus": 0, "node_ip_address": "127.0.0.1", **head}
        cluster = Cluster(initialize_head=True, head_node_args=arguments)
        try:
            yield cluster
        finally:
            cluster.shutdown()


def add_node(cluster: Cluster, cpus: int = 1, **more: Any) -> Any:
    return cluster.add_node(
        num_cpus=cpus, node_ip_address="127.0.0.1", object_store_memory=128 * 2**20, wait=False, **more
    )


@contextmanager
def started(command: list[str], printed: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Start goodshot; what it prints goes to a file. A test that fails meanwhile leaves no process behind."""
    with printed.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "goodshot.runner.cli", *command],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(condition: Callable[[], Any], process: subprocess.Popen[str], seconds: float = 240) -> Any:
    """Wait for a condition while a process runs; returns what made it true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"not seen before the process ended with {process.poll()} or {seconds} s had passed")


def workers_of(node: Any, title: str) -> list[psutil.Process]:
    """The worker processes of a node whose title begins with these words."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    found = []
    for child in raylet.children(recursive=True):
        try:
            if " ".join(child.cmdline()).startswith(title):
                found.append(child)
        except psutil.Error:
            continue
    return found


def values(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """What was measured in each cell, by fingerprint."""
    return {f: (row["image_auroc"], row["similarity"], row["chosen_iteration"]) for f, row in rows.items()}
