"""A run ends soon after the head of its cluster, in one line, and a head that is only slow ends no run."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from goodshot.runner.cli import main
from goodshot.runner.cluster.head import CONNECT_SECONDS, FAILURES, LOOK_SECONDS
from goodshot.runner.results.results import Results
from goodshot.runner.results.status import Status, read_status
from goodshot.runner.store.files import Files
from tests.conftest import TINY
from tests.runner.loopback_nodes import ROOT, add_node, loopback_cluster, started, until

REFUSED_SECONDS = LOOK_SECONDS * FAILURES
ENDING_SECONDS = 8.0
"""How long a run may take on a busy machine to write how it ended."""


def study(folder: Path, photographs: Path, iterations: list[int], weights: list[float]) -> Path:
    file = folder / "study.yaml"
    fields = {"arms": ["original", "generated"], "iterations": iterations, "vq_weight": weights}
    file.write_text(yaml.safe_dump({**TINY, "dataset": {"name": "demo", "root": str(photographs)}, **fields}))
    return file


def status_of(out: Path) -> Status | None:
    return read_status(Files(str(out)))


def has_a_row_and_steps(out: Path) -> bool:
    found = status_of(out)
    return found is not None and found.executed.get("detection", 0) > 0 and found.steps_done > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("lost", "weights"), [(("gcs_server",), [1.0]), ((), [1.0]), ((), [0.5, 1.0])], ids=["GCS", "machine", "Ray Tune"]
)
def test_a_run_ends_with_the_head_and_the_same_command_continues(
    lost: tuple[str, ...], weights: list[float], photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    out, printed = tmp_path / "out", tmp_path / "printed"
    file = study(tmp_path, photographs, [4, 40_000], weights)
    with loopback_cluster(include_dashboard=False) as cluster:
        add_node(cluster, 2)
        address = cluster.address
        with started(["sweep", str(file), "--out", str(out), "--address", address], printed) as process:
            until(lambda: has_a_row_and_steps(out), process)
            # A stopped head is slow: nothing of it answers, and the run has to outlast more than all failures.
            gcs = cluster.head_node.all_processes["gcs_server"][0].process
            gcs.send_signal(signal.SIGSTOP)
            time.sleep(REFUSED_SECONDS + 2 * LOOK_SECONDS)
            assert process.poll() is None, printed.read_text()
            gcs.send_signal(signal.SIGCONT)
            for name, processes in cluster.head_node.all_processes.items():
                for each in processes if not lost or name in lost else ():
                    each.process.kill()
            began = time.monotonic()
            assert process.wait(120) == 3, printed.read_text()
            took = time.monotonic() - began
            print(f"ended after {took:.1f} s")
    said = printed.read_text()
    assert took < REFUSED_SECONDS + ENDING_SECONDS, said
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if line.startswith("goodshot: ")]
    assert f"the head of the cluster at {address} no longer answers" in line
    assert "everything finished is kept: start the cluster and run the same command again" in line
    assert "Failed to connect to GCS" not in said
    found = status_of(out)
    assert found is not None
    assert found.state == "stopped"
    (run,) = [json.loads(path.read_text()) for path in (out / "runs").glob("*.json")]
    assert sum(run["generator_steps"].values()) > 0
    kept = Results(str(out)).finished()
    assert kept
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert main(["sweep", str(study(tmp_path, photographs, [4], weights)), "--out", str(out), "--local"]) == 0
    assert kept <= Results(str(out)).finished()


WATCHING = """
import sys, time
from types import SimpleNamespace
import ray
from goodshot.runner.cluster.head import watched_head
address, seconds = sys.argv[1], float(sys.argv[2])
ray.get_runtime_context = lambda: SimpleNamespace(gcs_address=address)
with watched_head(True) as head:
    print("watching", flush=True)
    try:
        time.sleep(seconds)
    except KeyboardInterrupt as error:
        print(type(head.reason_of(error)).__name__)
    else:
        print("lives")
"""


def watched(address: str, seconds: float, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """A process that watches a head, with its main thread in a call that takes so many seconds."""
    process = subprocess.Popen(
        [sys.executable, "-c", WATCHING, address, str(seconds)],
        env={**environment, "PYTHONPATH": str(ROOT / "src")},
        # As in the background of a shell, where Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "watching\n"
    return process


@pytest.mark.parametrize(
    ("listens", "patience", "said"),
    [(True, None, "lives"), (False, None, "HeadLost"), (False, "60", "lives")],
    ids=["slow", "dead", "awaited"],
)
def test_only_what_refuses_connections_is_dead(listens: bool, patience: str | None, said: str) -> None:
    """A process that listens and never answers is a slow head. The environment may ask for more patience with any."""
    environment = {"RAY_gcs_rpc_server_reconnect_timeout_s": patience} if patience else {}
    with socket.socket() as head:
        head.bind(("127.0.0.1", 0))
        head.listen(64)
        address = f"127.0.0.1:{head.getsockname()[1]}"
        process = watched(address, REFUSED_SECONDS + CONNECT_SECONDS, environment)
        try:
            if not listens:
                head.close()
            printed, _ = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
    assert printed.strip() == said
