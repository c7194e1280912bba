"""A study submitted to a real cluster with a token: from another folder, left, found again, stopped, lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from goodshot.components.errors import GoodshotError
from goodshot.runner.cli import main
from goodshot.runner.results.results import Results
from goodshot.runner.results.status import read_status
from goodshot.runner.store.files import Files
from tests.conftest import TINY
from tests.loopback import closed_port
from tests.ray_head import Head, ray_head
from tests.runner.loopback_nodes import add_node, loopback_cluster, values
from tests.runner.test_failures import BROKEN

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[2]
SECRETS = {"AWS_SECRET_ACCESS_KEY": "planted+aws/secret0123456789", "WANDB_API_KEY": "plantedwandbkey0123456789"}
GOODSHOT = [sys.executable, "-m", "goodshot.runner"]


WHERE = """
import runner.__main__, pathlib
runner.__main__.use_checkout(pathlib.Path("src").absolute())
import goodshot.runner, ray
ray.init(log_to_driver=False)
@ray.remote
def where():
    import goodshot.runner
    return goodshot.runner.__file__
print("code", goodshot.runner.__file__, ray.get(where.remote()))
"""


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with ray_head() as started:
        yield started


@pytest.fixture
def laptop(head: Head, tmp_path: Path) -> Laptop:
    folder = tmp_path / "laptop"
    folder.mkdir()
    return Laptop(head, folder)


@dataclass(frozen=True)
class Reached:
    """How a cluster is reached."""

    address: str
    url: str
    token: str


class Laptop:
    """A folder with a study and no code, and an environment with the token and with secrets."""

    def __init__(self, head: Head | Reached, folder: Path) -> None:
        self.head, self.folder = head, folder
        # The address and the token as a user gives them; the code as an installed package has it.
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            **SECRETS,
            "RAY_AUTH_TOKEN": head.token,
            "RAY_API_SERVER_ADDRESS": head.url,
            "PYTHONPATH": str(ROOT / "src"),
        }

    def study(self, **fields: Any) -> str:
        path = self.folder / f"{fields.get('name', 'tiny')}.yaml"
        path.write_text(yaml.safe_dump({**TINY, "dataset": {"name": "demo"}, **fields}))
        return path.name

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*GOODSHOT, *arguments], cwd=self.folder, env=self.environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip

    def run(self, *arguments: str) -> tuple[int, str]:
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=900)
        return process.returncode, said


def until_said(process: subprocess.Popen[str], words: str) -> str:
    """What a process prints up to the line with these words."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if words in line:
            return "".join(lines)
    raise AssertionError("".join(lines))


def test_submit_leave_find_again(laptop: Laptop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second person's submission follows the first one's job; its rows are those of a run in this process."""
    out, study = tmp_path / "out", laptop.study()
    leaving = laptop.start("submit", study, "--out", str(out))
    until_said(leaving, "cells 0/3")
    leaving.send_signal(signal.SIGINT)
    rest, _ = leaving.communicate(timeout=60)
    assert leaving.returncode == 130
    assert "goes on; to follow it again: goodshot attach tiny-" in rest
    code, said = laptop.run("submit", study, "--out", f"{out}/")
    assert code == 0, said
    assert "runs this study already; nothing was submitted" in said
    assert "cells 0/3" in said
    assert "report: " in said
    code, said = laptop.run("jobs")
    assert code == 0
    assert [line.split()[1] for line in said.splitlines() if line.startswith("tiny-")] == ["succeeded"]

    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert main(["sweep", str(laptop.folder / study), "--out", str(tmp_path / "here"), "--local"]) == 0
    ours, theirs = (Results(str(place)).rows() for place in (tmp_path / "here", out))
    assert len(ours) == 3
    assert {f: row["image_auroc"] for f, row in theirs.items()} == {f: row["image_auroc"] for f, row in ours.items()}


def test_a_node_is_lost_while_nobody_looks(tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head without CPUs and three nodes; the study is submitted, left, and found again after a node is gone."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    out, folder, dashboard = tmp_path / "out", tmp_path / "laptop", closed_port()
    folder.mkdir()
    with (
        loopback_cluster(include_dashboard=True, dashboard_port=dashboard) as started,
        # Of its own, as machines have it: each node replaces the package of a job when it first unpacks it.
        tempfile.TemporaryDirectory(prefix="gs") as folders,
    ):
        nodes = [add_node(started, 1, temp_dir=f"{folders}/{i}") for i in range(3)]
        started.wait_for_nodes(timeout=180)
        url = f"http://127.0.0.1:{dashboard}"
        laptop = Laptop(Reached(started.address, url, os.environ["RAY_AUTH_TOKEN"]), folder)
        study = laptop.study(
            name="outlives", vq_weight=[0.5, 1.0, 2.0], arms=["original", "generated"], iterations=[4, 60],
            dataset={"name": "demo", "root": str(photographs)},
        )  # fmt: skip
        following = laptop.start("submit", study, "--out", str(out), "--id", "outlives")
        until_said(following, "cells 0/7")
        until_running(out, "generator", 2)
        following.send_signal(signal.SIGINT)
        assert following.wait(60) == 130
        started.remove_node(nodes[0], allow_graceful=False)
        code, said = laptop.run("attach", "outlives")
        assert code == 0, said
        assert re.search(r"run again after a (node|process) was lost", said)
        status = laptop.run("status", "outlives")
        assert status[0] == 0, status
    assert main(["sweep", str(folder / study), "--out", str(tmp_path / "here"), "--local"]) == 0
    assert values(Results(str(out)).rows()) == values(Results(str(tmp_path / "here")).rows())
    assert len(Results(str(out)).rows()) == 7


def until_running(out: Path, kind: str, count: int, seconds: float = 300) -> None:
    """Wait until so many stages of a kind run."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        status = read_status(Files(str(out)))
        if status is not None and status.running.get(kind, 0) >= count:
            return
        time.sleep(0.2)
    raise AssertionError(f"{count} stages {kind} did not run within {seconds} s")


def test_a_cluster_is_checked_from_a_laptop(laptop: Laptop, tmp_path: Path) -> None:
    """By a job, because a laptop reaches the dashboard only."""
    study = laptop.study(name="checked")
    code, said = laptop.run("doctor", study, "--address", laptop.head.url, "--out", str(tmp_path / "out"))
    assert code == 0, said
    assert "shared with the driver" in said
    code, said = laptop.run(
        "doctor", study, "--address", laptop.head.url, "--out", str(tmp_path / "out"),
        "--set", "resources.generator_cpus=4096",
    )  # fmt: skip
    assert code == 1
    assert "a generator asks for 4096 CPUs, and no node without a fault has them" in said


def test_a_failing_study(laptop: Laptop, tmp_path: Path) -> None:
    broken = laptop.study(name="broken", arms=["original"], detectors=[BROKEN])
    code, said = laptop.run("submit", broken, "--out", str(tmp_path / "broken"))
    assert code == 1, said
    # From the stream of the job's output, or from what the stream did not bring; not from both.
    assert said.count("1 of 1 cells failed") == 1


def test_a_stopped_study(laptop: Laptop, tmp_path: Path) -> None:
    long = laptop.study(name="long", arms=["original"], detectors=[{**BROKEN, "learning_rate": 1e-9, "steps": 10**6}])
    following = laptop.start("submit", long, "--out", str(tmp_path / "long"), "--id", "endless")
    until_said(following, "cells 0/1")
    code, said = laptop.run("stop", "endless")
    assert (code, "job endless: stopped" in said) == (0, True)
    rest, _ = following.communicate(timeout=120)
    assert following.returncode == 143, rest
    assert "stopped; finished cells are kept, the same command continues" in rest


def test_plain_ray_needs_nothing_but_the_checkout(laptop: Laptop, tmp_path: Path) -> None:
    """`ray job submit --working-dir .`: its own cluster, no relative --out, and this code in its workers."""
    study = {**TINY, "dataset": {"name": "demo"}, "arms": ["original"]}
    shared = tmp_path / "study.yaml"
    shared.write_text(yaml.safe_dump(study))
    environment = {**laptop.environment, "RAY_AUTH_MODE": "token"}

    def job(*entry: str) -> subprocess.CompletedProcess[str]:
        submit = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--working-dir", str(ROOT), "--"]
        return subprocess.run(
            [*submit, *entry], env=environment, capture_output=True, text=True, check=False, timeout=900
        )

    sweep = ("python", "-m", "runner", "sweep", str(shared), "--out")
    refused = job(*sweep, "runs/here")
    assert refused.returncode != 0
    assert "--out runs/here: a relative path is in this Ray job's own folder" in refused.stdout + refused.stderr
    done = job(*sweep, str(tmp_path / "out"))
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = Results(str(tmp_path / "out")).rows().values()
    assert row["arm"] == "original"
    # Another version may be installed there, which must not be taken, neither by the driver nor by workers.
    found = job("python", "-c", WHERE)
    (places,) = [line.split()[1:] for line in found.stdout.splitlines() if line.startswith("code ")]
    assert all("/working_dir_files/_ray_pkg_" in place for place in places), places


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 64}, "the cluster does not accept this token"),
        ({"RAY_AUTH_MODE": ""}, "the cluster wants a token; set RAY_AUTH_MODE=token"),
    ],
)
def test_joining_without_the_token(laptop: Laptop, tmp_path: Path, changed: dict[str, str], line: str) -> None:
    laptop.environment.update(changed)
    study = laptop.study(arms=["original"])
    code, said = laptop.run("sweep", study, "--out", str(tmp_path / "out"), "--address", laptop.head.address)
    assert code == 1
    (error,) = [text for text in said.splitlines() if text.startswith("goodshot: ")]
    assert line in error


def test_no_secret_reached_the_cluster(head: Head, tmp_path: Path) -> None:
    """After all of the above: Ray's folder with its logs, packages and state, and what was written as results."""
    planted = [secret.encode() for secret in (*SECRETS.values(), head.token)]
    files = [path for place in (head.folder, tmp_path.parent) for path in place.rglob("*")]
    seen = 0
    for path in files:
        if path.is_file() and not path.is_symlink() and path.name != Path(__file__).name:
            seen += 1
            content = path.read_bytes()
            assert not any(secret in content for secret in planted), path
    assert seen > 100


def test_a_head_that_is_gone(tmp_path: Path) -> None:
    """Last, and on a head of its own: the one who follows is told, and so is who comes later."""
    with ray_head(1) as head:
        folder = tmp_path / "laptop"
        folder.mkdir()
        laptop = Laptop(head, folder)
        study = laptop.study(arms=["original"], detectors=[{**BROKEN, "learning_rate": 1e-9, "steps": 10**6}])
        following = laptop.start("submit", study, "--out", str(tmp_path / "out"))
        until_said(following, "Running entrypoint")
        head.kill()
        began = time.monotonic()
        rest, _ = following.communicate(timeout=120)
        assert following.returncode == 3, rest
        assert time.monotonic() - began < 30
        assert "submit the study again to another one: it continues from its store" in rest
        code, said = laptop.run("jobs")
        assert code == 1
        assert "nothing listens there; is the cluster up?" in said


def test_a_job_whose_cluster_died_continues_on_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command, with the address of the new cluster; what the old one had finished is not made again."""
    out, folder = tmp_path / "out", tmp_path / "laptop"
    folder.mkdir()
    with ray_head(1) as head:
        laptop = Laptop(head, folder)
        fields = {"vq_weight": [0.5, 1.0], "arms": ["original", "generated"], "iterations": [4, 200]}
        study = laptop.study(name="moved", **fields)
        following = laptop.start("submit", study, "--out", str(out))
        until_said(following, "cells 0/5")
        until_finished(out, 1)
        head.kill()
        following.communicate(timeout=120)
        assert following.returncode == 3
    finished = len(Results(str(out)).finished())
    assert 1 <= finished < 5
    with ray_head(1) as head:
        code, said = Laptop(head, folder).run("submit", study, "--out", str(out))
        assert code == 0, said
        assert f"{finished} finished" in said
    assert len(Results(str(out)).rows()) == 5


def until_finished(out: Path, count: int, seconds: float = 300) -> None:
    """Wait until so many cells have rows."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(GoodshotError):
            if len(Results(str(out)).finished()) >= count:
                return
        time.sleep(0.2)
    raise AssertionError(f"{count} cells did not finish within {seconds} s")
