"""A cluster that begins without a worker: Ray's own autoscaler adds nodes for what the queue needs.

The machines are Ray's fake ones: raylets that its autoscaler starts on this machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml

from goodshot.runner.cli import main
from goodshot.runner.results.results import Results
from tests.conftest import TINY
from tests.loopback import closed_port
from tests.runner.loopback_nodes import ROOT, started, until, values

pytestmark = pytest.mark.slow

FAKE = {
    "cluster_name": "fake",
    "max_workers": 2,
    "idle_timeout_minutes": 0.2,
    "head_node_type": "ray.head.default",
    # `ray up` fills these in, but `ray start` does not.
    **{name: {} for name in ("file_mounts", "auth")},
    **{
        name: []
        for name in (
            "cluster_synced_files",
            "initialization_commands",
            "setup_commands",
            "head_setup_commands",
            "worker_setup_commands",
            "head_start_ray_commands",
            "worker_start_ray_commands",
        )
    },
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
    },
}

PROVIDER = {
    "type": "fake_multinode",
    **dict.fromkeys(("use_node_id_as_ip", "disable_node_updaters", "disable_launch_config_check"), True),
}


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A head without CPUs and with an autoscaler; stopped with all that it has started, by their processes' ids."""
    address = f"127.0.0.1:{closed_port()}"
    (tmp_path / "cluster.yaml").write_text(json.dumps({**FAKE, "provider": {**PROVIDER, "gcs_address": address}}))
    command = ["start", "--head", "--block", "--num-cpus=0", "--include-dashboard=false", "--node-ip-address=127.0.0.1"]
    command += [f"--port={address.partition(':')[2]}", f"--autoscaling-config={tmp_path / 'cluster.yaml'}"]
    environment = {
        "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_worker_niceness": "0",
        # Nodes of one address, in the same folder.
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": "fffffffffffffffffffffffffffffffffffffffffffffffffff00000",
    }
    head = subprocess.Popen(
        [str(Path(sys.executable).with_name("ray")), *command],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=(tmp_path / "head").open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        until(lambda: "Ray runtime started" in (tmp_path / "head").read_text(), head)
        yield address
    finally:
        mine = [psutil.Process(head.pid), *psutil.Process(head.pid).children(recursive=True)]
        for process in reversed(mine):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        head.wait()


def test_the_autoscaler_adds_nodes_for_what_is_queued(
    address: str, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    study = {**TINY, "name": "scaled", "dataset": {"name": "demo", "root": str(photographs)}, "arms": ["generated"]}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({**study, "support_seeds": [0, 1], "iterations": [20]}))
    out, printed = tmp_path / "out", tmp_path / "printed"
    command = ["sweep", str(tmp_path / "study.yaml"), "--out", str(out), "--address", address]
    with started(command, printed, RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0") as process:
        until(lambda: "waiting for a node with 1 CPU" in printed.read_text(), process)
        # Two trainings are queued, of which Ray itself would have been told of one.
        until(lambda: _workers(tmp_path) == 2, process)
        assert process.wait(400) == 0, printed.read_text()
    assert main(["sweep", str(tmp_path / "study.yaml"), "--out", str(tmp_path / "here"), "--local"]) == 0
    rows = Results(str(out)).rows()
    assert len(rows) == 2
    assert values(rows) == values(Results(str(tmp_path / "here")).rows())
    assert "no node has a GPU, so that this run stays on CPUs" in printed.read_text()


def _workers(folder: Path) -> int:
    """The nodes that the autoscaler has started: raylets below its process."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(word.endswith("monitor.py") for word in words) and any(str(folder) in word for word in words):
            return sum("raylet/raylet" in " ".join(child.cmdline()[:1]) for child in process.children(recursive=True))
    return 0
