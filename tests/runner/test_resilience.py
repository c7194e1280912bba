"""Lost processes and nodes cost time and no row; and nothing of the driver's environment reaches Ray's files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray.cluster_utils import Cluster
from ray.util.state import list_actors, list_runtime_envs, list_tasks

from goodshot.runner.cli import main
from goodshot.runner.results.results import Results
from tests.conftest import TINY
from tests.runner.loopback_nodes import add_node, loopback_cluster, start, until, values, workers_of

pytestmark = pytest.mark.slow

SECRET = "planted-and-to-be-found-nowhere"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head without CPUs, with a dashboard, and one node with two CPUs."""
    with loopback_cluster(include_dashboard=True) as cluster:
        add_node(cluster, 2)
        yield cluster


@pytest.fixture
def study(photographs: Path, tmp_path: Path) -> Callable[..., Path]:
    def write(**fields: Any) -> Path:
        path = tmp_path / "study.yaml"
        dataset = {"name": "demo", "root": str(photographs)}
        path.write_text(yaml.safe_dump({**TINY, "name": "resilient", "dataset": dataset, **fields}))
        return path

    return write


def test_no_key_of_the_driver_is_in_rays_files_or_its_state(
    cluster: Cluster, study: Callable[..., Path], tmp_path: Path
) -> None:
    path = study(vq_weight=[0.5, 1.0], arms=["generated"])
    command = ["sweep", str(path), "--out", str(tmp_path / "out"), "--address", cluster.address]
    printed = tmp_path / "printed"
    process = start(command, printed, AWS_ACCESS_KEY_ID="id", AWS_SECRET_ACCESS_KEY=SECRET, AWS_SESSION_TOKEN=SECRET)
    assert process.wait(300) == 0, printed.read_text()
    session = Path(cluster.head_node.get_session_dir_path())
    files = [file for file in session.rglob("*") if file.is_file()]
    assert any("runtime_env" in file.name for file in files)
    found = [file for file in files if SECRET.encode() in file.read_bytes()]
    assert not found
    dashboard = f"http://{cluster.head_node.webui_url}"
    shown = [listed(dashboard, detail=True) for listed in (list_runtime_envs, list_actors, list_tasks)]
    assert "ImplicitFunc" in str(shown)
    assert SECRET not in str(shown)
    assert SECRET.encode() not in b"".join(f.read_bytes() for f in (tmp_path / "out").rglob("*") if f.is_file())
