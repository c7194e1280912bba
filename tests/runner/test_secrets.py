"""Secrets of the driver's environment and of a URI are in nothing that a run on a cluster leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyarrow import fs

from goodshot.runner.cli import main
from goodshot.runner.results.results import Results
from goodshot.runner.study.settings import to_yaml
from goodshot.runner.study.study import Study
from tests.runner import object_store
from tests.runner.object_store import KEY, SECRET
from tests.runner.test_node_checks import loopback_cluster

pytestmark = pytest.mark.slow

PLANTED = {
    "AWS_SECRET_ACCESS_KEY": "planted-aws-secret-9d1f",
    "AWS_SESSION_TOKEN": "planted-session-7c2e",
    "WANDB_API_KEY": "planted0wandb0key0" + "5" * 22,
}


@dataclass(frozen=True)
class Left:
    """What a run left: files by path, and what it printed."""

    folders: tuple[Path, ...]
    printed: str

    def holders(self, secret: str) -> list[str]:
        files = [path for folder in self.folders for path in folder.rglob("*") if path.is_file()]
        found = [str(path) for path in files if secret.encode() in path.read_bytes()]
        return [*found, "the output"] if secret in self.printed else found


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """The URI of a store on a server of this machine, with its credentials."""
    command = [sys.executable, object_store.__file__]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        options = f"endpoint_override=127.0.0.1:{server.stdout.readline().strip()}&scheme=http&region=us-east-1"
        uri = f"s3://{KEY}:{SECRET}@secrets/store?{options}"
        fs.FileSystem.from_uri(f"{uri}&allow_bucket_creation=true")[0].create_dir("secrets")
        yield uri
        server.kill()


@pytest.fixture(scope="module")
def session() -> Iterator[tuple[str, Path]]:
    """The address of a cluster whose processes were started before any secret was planted, and its folder."""
    with loopback_cluster() as cluster:
        cluster.add_node(num_cpus=2, node_ip_address="127.0.0.1", object_store_memory=128 * 2**20)
        yield cluster.address, Path(cluster.head_node.get_session_dir_path())


@pytest.fixture
def run(
    session: tuple[str, Path],
    store: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Callable[[Study], Left]:
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_MODE", "offline")
    address, ray_folder = session

    def swept(study: Study) -> Left:
        (tmp_path / "study.yaml").write_text(to_yaml(study))
        out = tmp_path / "out"
        command = ["sweep", str(tmp_path / "study.yaml"), "--out", str(out), "--store", store, "--address", address]
        assert main(command) == 0
        assert main(["report", str(out), "--store", store]) == 0
        assert Results(str(out)).finished()
        printed = capfd.readouterr()
        return Left((out, ray_folder), printed.out + printed.err)

    return swept


def secrets() -> list[str]:
    return [SECRET, os.environ["RAY_AUTH_TOKEN"], *PLANTED.values()]


def test_of_a_study_with_one_point(run: Callable[[Study], Left], tiny_study: Callable[..., Study]) -> None:
    left = run(tiny_study())
    assert not {secret: holders for secret in secrets() if (holders := left.holders(secret))}


def test_of_a_sweep_through_ray_tune(run: Callable[[Study], Left], tiny_study: Callable[..., Study]) -> None:
    left = run(tiny_study(name="swept", vq_weight=[0.5, 1.0], arms=["generated"]))
    assert not {secret: holders for secret in secrets() if (holders := left.holders(secret))}
