"""Lost processes and nodes cost time and no row, and nodes that join are used; on real processes.

Nothing of the driver's environment reaches Ray's files.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated.autoscaler_pb2 import DRAIN_NODE_REASON_PREEMPTION
from ray.util.state import list_actors, list_runtime_envs, list_tasks

from goodshot.runner.cli import main
from goodshot.runner.results.results import Results
from tests.conftest import TINY
from tests.loopback import closed_port
from tests.runner.loopback_nodes import add_node, loopback_cluster, started, until, values, workers_of

pytestmark = pytest.mark.slow

SECRET = "planted-and-to-be-found-nowhere"
TRAININGS, LONG = 2, 40
SLOW_START = 12
"""Seconds; several processes start one after the other until a node's check has ended."""
SPOT_NODES, SPOT_SECONDS, SPOT_PATIENCE = 3, 6.0, 120.0
"""How many nodes there are, the seconds between two that join, and the most seconds until the next one is lost."""


@dataclass(frozen=True)
class Sweep:
    """A study of two points, and what it measures when it runs in one process."""

    file: Path
    measured: dict[str, tuple[Any, ...]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head without CPUs, with a dashboard; the first test adds a node."""
    with loopback_cluster(include_dashboard=True, dashboard_port=closed_port()) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def sweep(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    folder = tmp_path_factory.mktemp("sweep")
    dataset = {"name": "demo", "root": str(photographs)}
    fields = {"name": "resilient", "vq_weight": [0.5, 1.0], "arms": ["original", "generated"], "iterations": [4, LONG]}
    (folder / "study.yaml").write_text(yaml.safe_dump({**TINY, "dataset": dataset, **fields}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        assert main(["sweep", str(folder / "study.yaml"), "--out", str(folder / "out"), "--local"]) == 0
    return Sweep(folder / "study.yaml", values(Results(str(folder / "out")).rows()))


def steps(out: Path) -> list[int]:
    """The steps of each training, in all runs into this folder."""
    runs = [json.loads(path.read_text())["generator_steps"] for path in (out / "runs").glob("*.json")]
    return [sum(run.get(training, 0) for run in runs) for training in {id_ for run in runs for id_ in run}]


def test_nodes_join_a_cluster_that_has_none_and_are_taken_away(cluster: Cluster, sweep: Sweep, tmp_path: Path) -> None:
    out, printed = tmp_path / "out", tmp_path / "printed"
    with started(["sweep", str(sweep.file), "--out", str(out), "--address", cluster.address], printed) as process:
        until(lambda: "waiting for a node with 1 CPU" in printed.read_text(), process)
        first = add_node(cluster, 1)
        until(lambda: workers_of(first, "ray::generator coin λ="), process)
        second = add_node(cluster, 2)
        until(lambda: workers_of(second, "ray::generator coin λ="), process)
        cluster.remove_node(first, allow_graceful=False)
        assert process.wait(900) == 0, printed.read_text()
    assert values(Results(str(out)).rows()) == sweep.measured
    assert re.search("stages? w(as|ere) run again after a node was lost", printed.read_text())
    assert all(each >= LONG - 1 for each in steps(out))


def test_a_training_is_saved_and_goes_on_elsewhere_when_its_node_is_drained(sweep: Sweep, tmp_path: Path) -> None:
    """As before a spot machine is taken away: nothing is made twice, although no checkpoint was due."""
    out, printed = tmp_path / "out", tmp_path / "printed"
    with loopback_cluster() as cluster:
        nodes = [add_node(cluster, 1), add_node(cluster, 1)]
        command = ["sweep", str(sweep.file), "--out", str(out), "--address", cluster.address]
        with started(command, printed) as process:
            until(lambda: all(workers_of(node, "ray::generator coin λ=") for node in nodes), process)
            hour = int(1000 * (time.time() + 3600))
            asked = GcsClient(address=cluster.address)
            accepted, why = asked.drain_node(nodes[0].node_id, DRAIN_NODE_REASON_PREEMPTION, "taken away", hour)
            assert accepted, why
            assert process.wait(900) == 0, printed.read_text()
    assert values(Results(str(out)).rows()) == sweep.measured
    assert "run again after a node was to be taken away" in printed.read_text()
    assert steps(out) == [LONG - 1] * TRAININGS


def test_what_was_lost_while_the_only_other_node_was_checked_goes_on_there(sweep: Sweep, tmp_path: Path) -> None:
    """A task keeps the nodes that it avoids: those that were being checked when it was submitted, too."""
    out, printed, slow = tmp_path / "out", tmp_path / "printed", tmp_path / "slow"
    slow.mkdir()
    # Every process of the second node starts late, so that its check takes longer than the first node lives.
    (slow / "sitecustomize.py").write_text(f"import time\ntime.sleep({SLOW_START})\n")
    with loopback_cluster() as cluster:
        first = add_node(cluster, 1)
        command = ["sweep", str(sweep.file), "--out", str(out), "--address", cluster.address]
        with started(command, printed) as process:
            until(lambda: workers_of(first, "ray::generator coin λ="), process)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("PYTHONPATH", str(slow), prepend=os.pathsep)
                add_node(cluster, 2)
            until(lambda: len(json.loads((out / "status.json").read_text())["nodes"]) == 3, process)
            cluster.remove_node(first, allow_graceful=False)
            assert process.wait(300) == 0, printed.read_text()
    assert values(Results(str(out)).rows()) == sweep.measured


def test_the_counts_of_a_run_are_among_rays_metrics(sweep: Sweep, tmp_path: Path) -> None:
    """As Prometheus reads them, at the port of any node."""
    out, printed, port = tmp_path / "out", tmp_path / "printed", closed_port()
    seen: dict[str, set[str]] = {}

    def scraped() -> bool:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            for line in answer.read().decode().splitlines():
                name, brace, labels = line.partition("{")
                if brace and name.startswith("ray_goodshot_"):
                    seen.setdefault(name.removeprefix("ray_goodshot_"), set()).add(labels)
        return {"cells", "stages", "generator_steps", "generator_steps_per_second", "retries"} <= seen.keys()

    with loopback_cluster(metrics_export_port=port) as cluster:
        add_node(cluster, 1)
        command = ["sweep", str(sweep.file), "--out", str(out), "--address", cluster.address]
        with started(command, printed) as process:
            until(scraped, process)
    found = {name: " ".join(own) for name, own in seen.items()}
    states = {name: {*re.findall(r'state="(\w+)"', labels)} for name, labels in found.items()}
    assert states["cells"] >= {"total", "done"}
    assert states["stages"] == {"running", "queued"}
    assert any('reason="a node was lost"' in labels for labels in seen["retries"])
    assert all('studies="resilient"' in labels for labels in seen["cells"])


def progress(out: Path) -> tuple[int, int]:
    """The cells and the steps that a run has finished, as its status says."""
    with suppress(OSError, ValueError):
        found = json.loads((out / "status.json").read_text())
        return int(found["cells_done"]), int(found["steps_done"])
    return 0, 0


def _wait(process: subprocess.Popen[str], seconds: float, before: tuple[int, int] | None, out: Path) -> None:
    """Wait until a process ends, so many seconds have passed, or its study is further than ``before``."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline and (before is None or progress(out) == before):
        time.sleep(0.2)


def test_nodes_come_and_go_for_a_whole_study(photographs: Path, tmp_path: Path) -> None:
    """As spot machines do: every few seconds one more node, and the oldest of three ends without a word."""
    study = {**TINY, "name": "spot", "dataset": {"name": "demo", "root": str(photographs)}, "vq_weight": [0.25, 0.5, 1]}
    study |= {"arms": ["original", "augmented", "generated"], "iterations": [4, LONG], "support_seeds": [0, 1]}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        assert main(["sweep", str(tmp_path / "study.yaml"), "--out", str(tmp_path / "here"), "--local"]) == 0
    out, printed = tmp_path / "out", tmp_path / "printed"
    alive, lost = [], 0
    with loopback_cluster() as cluster:
        command = ["sweep", str(tmp_path / "study.yaml"), "--out", str(out), "--address", cluster.address]
        with started(command, printed) as process:
            while process.poll() is None:
                alive.append(add_node(cluster, 1))
                if len(alive) > SPOT_NODES:
                    # A busy machine starts processes slowly: the next node is lost when something was finished.
                    _wait(process, SPOT_PATIENCE, progress(out), out)
                    cluster.remove_node(alive.pop(0), allow_graceful=False)
                    lost += 1
                _wait(process, SPOT_SECONDS, None, out)
            assert process.returncode == 0, printed.read_text()
    assert lost >= SPOT_NODES
    assert values(Results(str(out)).rows()) == values(Results(str(tmp_path / "here")).rows())


@pytest.fixture
def nodes(cluster: Cluster) -> Cluster:
    """The cluster with at least one node that has CPUs."""
    if not cluster.worker_nodes:
        add_node(cluster, 2)
    return cluster


def test_a_lost_broker_goes_on_from_the_store(nodes: Cluster, sweep: Sweep, tmp_path: Path) -> None:
    out, printed = tmp_path / "out", tmp_path / "printed"
    with started(["sweep", str(sweep.file), "--out", str(out), "--address", nodes.address], printed) as process:
        until(lambda: sum(steps(out)) > 0, process)
        counted = sum(steps(out))
        for title in ("ray::Broker", "ray::SweepPoint"):
            lost = workers_of(nodes.head_node, title)
            assert lost
            lost[0].send_signal(signal.SIGKILL)
        assert process.wait(900) == 0, printed.read_text()
    assert "the run's broker was lost and started again" in printed.read_text()
    assert values(Results(str(out)).rows()) == sweep.measured
    # The steps of its first life are counted.
    assert sum(steps(out)) >= max(counted, TRAININGS * (LONG - 1))


def test_a_stage_that_stands_still_is_run_again(nodes: Cluster, sweep: Sweep, tmp_path: Path) -> None:
    out, printed = tmp_path / "out", tmp_path / "printed"
    command = ["sweep", str(sweep.file), "--out", str(out), "--set", "resources.silence_seconds=15"]
    with started([*command, "--address", nodes.address], printed) as process:
        trains = until(lambda: [p for n in nodes.worker_nodes for p in workers_of(n, "ray::generator")], process)
        time.sleep(1)  # it has sent its first pulse and imports torch
        trains[0].send_signal(signal.SIGSTOP)
        assert process.wait(900) == 0, printed.read_text()
    assert "after it stood still" in printed.read_text()
    assert values(Results(str(out)).rows()) == sweep.measured


def test_no_key_of_the_driver_is_in_rays_files_or_its_state(nodes: Cluster, photographs: Path, tmp_path: Path) -> None:
    study = {**TINY, "name": "keys", "dataset": {"name": "demo", "root": str(photographs)}, "arms": ["generated"]}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({**study, "vq_weight": [0.5, 1.0]}))
    out, printed = tmp_path / "out", tmp_path / "printed"
    command = ["sweep", str(tmp_path / "study.yaml"), "--out", str(out), "--address", nodes.address]
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": SECRET}
    with started(command, printed, **keys) as process:
        assert process.wait(900) == 0, printed.read_text()
    files = [file for file in Path(nodes.head_node.get_session_dir_path()).rglob("*") if file.is_file()]
    assert any("runtime_env" in file.name for file in files)
    files += [file for file in out.rglob("*") if file.is_file()]
    assert not [file for file in files if SECRET.encode() in file.read_bytes()]
    dashboard = f"http://{nodes.head_node.webui_url}"
    shown = [listed(dashboard, detail=True, limit=10_000) for listed in (list_runtime_envs, list_actors, list_tasks)]
    actors = str(shown[1])
    assert "SweepPoint_keys" in actors
    assert "ImplicitFunc" not in actors
    assert "StageActor for the home of generator coin λ=" in actors
    assert "load Originals for generator coin λ=" in str(shown[2])
    assert SECRET not in str(shown)
