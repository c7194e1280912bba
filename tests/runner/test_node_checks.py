"""A deliberately broken cluster, as processes on loopback: each fault is named, and a faulty node gets no work."""

from __future__ import annotations

import os
import re
import shutil
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from ray._private import ray_constants
from ray.cluster_utils import Cluster

import goodshot
from goodshot.components.errors import BadInput
from goodshot.runner.cli import main
from goodshot.runner.machine.doctor import Finding
from goodshot.runner.nodes import check
from goodshot.runner.nodes.check import Node, NodeCheck, room
from goodshot.runner.nodes.prepare import fault_lines, require_token
from goodshot.runner.results.results import Results
from goodshot.runner.study.settings import to_yaml
from goodshot.runner.study.study import Study
from tests.runner.loopback_nodes import started, until


def node(name: str, address: str = "192.0.2.1", **resources: float) -> Node:
    return Node(name, name, address, {"CPU": 2.0, **resources})


def test_nodes_with_the_same_fault_share_a_line() -> None:
    full = [NodeCheck(node(f"n{i}"), (Finding(f"n{i}", "disk", "faulty", "1 MB free", "make room"),)) for i in range(5)]
    sound = NodeCheck(node("n9"), (Finding("n9", "disk", "here", "9 GB free"),))
    assert fault_lines([*full, sound]) == ["n0, n1, n2 and 2 more: disk: 1 MB free; make room"]


def test_a_cluster_without_a_token_is_refused_unless_it_is_waived_on_loopback() -> None:
    there, here = NodeCheck(node("there"), (), False), NodeCheck(node("here", "127.0.0.1"), (), False)
    for checks, insecure_local in (([there], False), ([here], False), ([here, there], True)):
        with pytest.raises(BadInput, match="has no token; start it again with RAY_AUTH_MODE=token"):
            require_token(checks, insecure_local)
    require_token([here], True)
    require_token([NodeCheck(node("there"), (), True)], False)


def test_room_is_asked_of_one_node_for_each_kind_of_stage(tiny_study: Callable[..., Study]) -> None:
    study = tiny_study(resources={"generator_cpus": 3, "detector_cpus": 2})
    states = {finding.detail.split(": ")[1].split(" asks")[0]: finding.state for finding in room([study], [node("a")])}
    assert states == {"a generator": "faulty", "a detector": "here"}


def test_a_node_with_little_memory_for_its_cpus_is_noted(tiny_study: Callable[..., Study]) -> None:
    narrow = replace(node("a"), resources={"CPU": 8.0, "memory": 6e9})
    noted = [each for each in room([tiny_study()], [narrow]) if each.state == "note"]
    assert [each.item for each in noted] == ["memory", "memory"]
    assert "6.0 GB for 8 processes at once, of which each generator needs about 2.0 GB" in noted[0].detail
    wide = tiny_study(resources={"generator_cpus": 4, "detector_cpus": 4})
    assert not [each for each in room([wide], [narrow]) if each.state == "note"]


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Variables that the processes of a node inherit which is started meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


@contextmanager
def loopback_cluster() -> Iterator[Cluster]:
    """A head without CPUs; stopped by its own processes' ids."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("WANDB_MODE", "disabled")
        # Ten nodes share this machine's CPUs.
        patch.setattr(check, "ANSWER_SECONDS", 300.0)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "node_ip_address": "127.0.0.1"})
        try:
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


def python_path(folder: Path, sitecustomize: str = "") -> dict[str, str]:
    """A node's Python that looks into a folder first; ``sitecustomize`` changes it at its start."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(f"{WORK_LEAVES_A_FILE}\n{textwrap.dedent(sitecustomize)}")
    return {"PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"}


WORK_LEAVES_A_FILE = """
import pathlib, sys

class Watching:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            pathlib.Path(__file__).with_name("worked").touch()

sys.meta_path.insert(0, Watching())
"""
"""Each stage that computes imports torch; the check of a node without GPUs does not."""

CLOCK_AND_NO_GOODSHOT = """
import sys, time
sys.modules["goodshot"] = None
true_time = time.time
time.time = lambda: true_time() + 3600
"""

DISK = """
import shutil
from collections import namedtuple
shutil.disk_usage = lambda path: namedtuple("usage", "total used free")(10**9, 10**9, 10**6)
"""


def other_ray(folder: Path) -> dict[str, str]:
    """Ray itself refuses nodes of another version, but a node may have got one since it was started."""
    installed = folder / "ray-2.0.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: ray\nVersion: 2.0.0\n")
    return python_path(folder)


def other_code(folder: Path) -> dict[str, str]:
    """A copy of the runner with a changed file, beside the same components."""
    package = Path(goodshot.__path__[0])
    shutil.copytree(package / "runner", folder / "goodshot" / "runner", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__.py", "components", "experiments"):
        (folder / "goodshot" / name).symlink_to((package / name).resolve())
    with (folder / "goodshot" / "runner" / "named.py").open("a") as file:
        file.write("# changed\n")
    return python_path(folder)


FAULTS = 6
"""Of five nodes: one has two."""


class Broken:
    """The cluster: a sound node, one whose working directory is elsewhere, and one with each fault."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.ids: dict[str, str] = {}

    def add(self, fault: str, variables: dict[str, str], **options: float) -> None:
        with environment(**variables):
            added = self.cluster.add_node(
                num_cpus=1, node_ip_address="127.0.0.1", object_store_memory=100 * 2**20, **options
            )
        self.ids[fault] = added.node_id

    def lines_of(self, output: str) -> dict[str, str]:
        """The lines of doctor's table by the fault of their node."""
        parts = re.split(r"127\.0\.0\.1 \((\w{8})\)", output)
        by_name = dict(zip(parts[1::2], parts[2::2], strict=True))
        return {fault: by_name[id_[:8]] for fault, id_ in self.ids.items()}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broken]:
    folder = tmp_path_factory.mktemp("broken")
    weight = folder / "cache" / "vqgan" / "imagenet_1024.safetensors"
    weight.parent.mkdir(parents=True)
    weight.touch()
    (folder / "elsewhere").mkdir()
    with environment(GOODSHOT_CACHE=str(folder / "cache")), pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with loopback_cluster() as cluster:
            made = Broken(cluster, folder)
            made.add("clock", python_path(folder / "clock", CLOCK_AND_NO_GOODSHOT))
            made.add("disk", python_path(folder / "disk", DISK))
            made.add("Ray", other_ray(folder / "ray"))
            made.add("code", other_code(folder / "code"))
            made.add("GPU", {}, num_gpus=1)
            made.add("none", {})
            # The names below /proc/self/cwd are other files for a process in another working directory: as those of a
            # local folder are on another machine.
            patch.chdir(folder / "elsewhere")
            made.add("folder", {"GOODSHOT_CACHE": str(folder / "empty")})
            patch.chdir(folder)
            yield made


@pytest.mark.slow
def test_each_fault_is_named(
    broken: Broken, tiny_study: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    published = tiny_study(generator={"vqgan": "f16", "init": "taming:imagenet_1024", "resolution": 64})
    study = broken.folder / "study.yaml"
    study.write_text(to_yaml(published))
    options = ["--address", broken.cluster.address, "--out", "/proc/self/cwd/out"]
    assert main(["doctor", str(study), *options]) == 1
    printed = capsys.readouterr()
    lines = broken.lines_of(printed.out)
    assert re.search(r"weights +missing +taming:imagenet_1024: ", lines["folder"])
    assert re.search(r"clock +faulty +about 60 min ahead of the driver's", lines["clock"])
    assert re.search(r"disk +faulty +1 MB free in ", lines["disk"])
    assert re.search(r"Ray +faulty +2\.0\.0; the driver has ", lines["Ray"])
    assert re.search(r"goodshot +faulty +0\.1\.0 with code \w{12}; the driver has \w{12} ", lines["code"])
    assert re.search(r"goodshot +faulty +0\.1\.0: cannot answer \(ModuleNotFoundError: ", lines["clock"])
    assert re.search(r"GPU +faulty +1 by --num-gpus, 0 that torch can use", lines["GPU"])
    assert re.search(r"--out +missing +--out file:///proc/self/cwd/out is not the driver's folder", lines["folder"])
    assert {fault for fault, text in lines.items() if not re.search("faulty|missing", text)} == {"none"}
    counts = {fault: len(re.findall("faulty|missing", text)) for fault, text in lines.items()}
    assert counts == {"none": 0, "clock": 2, "disk": 1, "Ray": 1, "code": 1, "GPU": 1, "folder": 3}
    assert f"{broken.cluster.address}: 9 faults of its nodes" in printed.err
    # The markers are gone, and nothing was written where no other node sees it.
    assert [path.name for path in (broken.folder / "out").rglob("*") if path.is_file()] == []
    assert not (broken.folder / "elsewhere" / "out").exists()


@pytest.mark.slow
def test_faulty_nodes_get_no_work_and_photographs_come_to_the_store(
    broken: Broken, tiny_study: Callable[..., Study], photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(photographs, broken.folder / "photographs")
    root = {"name": "demo", "root": "/proc/self/cwd/photographs"}
    study, out = broken.folder / "study.yaml", broken.folder / "shared"
    study.write_text(to_yaml(tiny_study(dataset=root, vq_weight=[0.5, 1.0], resources={"generators": 8})))
    for worked in broken.folder.glob("*/worked"):
        worked.unlink()
    assert main(["sweep", str(study), "--out", str(out), "--address", broken.cluster.address]) == 0
    printed = capsys.readouterr().out
    assert len(Results(str(out)).finished()) == 4
    assert "left out: 127.0.0.1 (" in printed
    assert printed.count("left out: ") == FAULTS  # not for the weight, which this study does not need
    assert "writing the photographs of 1 categories to the store here" in printed
    # Without the exclusion, the first tasks are spread over the nodes.
    assert not [*broken.folder.glob("*/worked")]


@pytest.mark.slow
def test_a_run_is_refused_where_no_sound_node_is_left(
    broken: Broken, tiny_study: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    study = broken.folder / "study.yaml"
    study.write_text(to_yaml(tiny_study(name="refused")))
    for sound in ("none", "folder"):
        (left,) = [n for n in broken.cluster.worker_nodes if n.node_id == broken.ids[sound]]
        broken.cluster.remove_node(left, allow_graceful=True)
    assert main(["sweep", str(study), "--out", str(broken.folder / "no"), "--address", broken.cluster.address]) == 2
    printed = capsys.readouterr()
    assert printed.out.count("left out: ") == FAULTS
    assert "every node of the cluster that could run a stage has a fault" in printed.err


@pytest.mark.slow
def test_a_faulty_node_that_joins_a_run_gets_no_work(
    tiny_study: Callable[..., Study], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out, printed = tmp_path / "study.yaml", tmp_path / "out", tmp_path / "printed"
    long = tiny_study(vq_weight=[0.5, 1.0, 2.0], arms=["original", "generated"], iterations=[400])
    study.write_text(to_yaml(long))
    with loopback_cluster() as cluster:
        cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1", object_store_memory=100 * 2**20)
        command = ["sweep", str(study), "--out", str(out), "--address", cluster.address]
        with started(command, printed) as process:
            until(lambda: "generator steps" in printed.read_text(), process)
            with environment(**python_path(tmp_path / "full", DISK)):
                cluster.add_node(num_cpus=2, node_ip_address="127.0.0.1", object_store_memory=100 * 2**20)
            until(lambda: "left out: 127.0.0.1 (" in printed.read_text(), process)
            assert process.wait(900) == 0, printed.read_text()
    assert "disk: 1 MB free in " in printed.read_text()
    assert len(Results(str(out)).finished()) == 4
    assert not (tmp_path / "full" / "worked").exists()
