"""A deliberately broken cluster, as processes on loopback: each node has one fault, which is named, and gets no work."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray
from ray._private import ray_constants
from ray.cluster_utils import Cluster

import goodshot
from goodshot.components.weights import weight
from goodshot.runner.cli import main
from goodshot.runner.results.results import Results
from goodshot.runner.study.settings import to_yaml
from goodshot.runner.study.study import Study

pytestmark = pytest.mark.slow

NEEDED = "torchvision:vgg16"


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Variables that the processes of a node inherit which is started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def loopback_cluster() -> Iterator[Cluster]:
    """A head without CPUs; stopped by its own processes' ids."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("WANDB_MODE", "disabled")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "node_ip_address": "127.0.0.1"})
        try:
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


def add_node(cluster: Cluster, **options: float) -> str:
    """Add a node; the name by which findings call it."""
    node = cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1", object_store_memory=100 * 2**20, **options)
    return f"127.0.0.1 ({node.node_id[:8]})"


def python_path(folder: Path, sitecustomize: str = "") -> dict[str, str]:
    """Python of a node that reads a folder first; ``sitecustomize`` changes it at its start."""
    folder.mkdir(exist_ok=True)
    if sitecustomize:
        (folder / "sitecustomize.py").write_text(textwrap.dedent(sitecustomize))
    return {"PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"}


def other_code(folder: Path) -> dict[str, str]:
    """Another goodshot: a copy of the runner with a changed file, beside the same components."""
    package = Path(goodshot.__path__[0])
    shutil.copytree(package / "runner", folder / "goodshot" / "runner", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__.py", "components", "experiments"):
        (folder / "goodshot" / name).symlink_to((package / name).resolve())
    with (folder / "goodshot" / "runner" / "named.py").open("a") as file:
        file.write("# changed\n")
    return python_path(folder)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, dict[str, str]]]:
    """The cluster, and its nodes' names by their fault."""
    folder = tmp_path_factory.mktemp("broken")
    # A stage runs where all its files are: here the weight is in the shared cache of all nodes but one.
    clock = python_path(
        folder / "clock", "import time\ntrue_time = time.time\ntime.time = lambda: true_time() + 3600\n"
    )
    disk = python_path(
        folder / "disk",
        """
        import shutil
        from collections import namedtuple

        shutil.disk_usage = lambda path: namedtuple("usage", "total used free")(10**9, 10**9, 10**6)
        """,
    )
    old_ray = folder / "ray" / "ray-2.0.0.dist-info"
    old_ray.mkdir(parents=True)
    (old_ray / "METADATA").write_text("Metadata-Version: 2.1\nName: ray\nVersion: 2.0.0\n")
    faults = {
        "weight": {"TORCH_HOME": str(folder / "no-weights")},
        "clock": clock,
        "disk": disk,
        "Ray": python_path(folder / "ray"),
        "code": other_code(folder / "code"),
    }
    names = {}
    with loopback_cluster() as cluster:
        for fault, variables in faults.items():
            with environment(**variables):
                names[fault] = add_node(cluster)
        names["GPU"] = add_node(cluster, num_gpus=1)
        names["none"] = add_node(cluster)
        yield cluster, names


def test_each_fault_is_named(
    broken: tuple[Cluster, dict[str, str]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cluster, names = broken
    code = main(["doctor", "--address", cluster.address, "--out", str(tmp_path / "out")])
    print(capsys.readouterr().out)
    assert code == 1
