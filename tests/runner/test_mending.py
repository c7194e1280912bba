"""Artifacts whose bytes are not those committed: no wrong number, and they are made anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from goodshot.runner.results.results import Results
from goodshot.runner.run.execute import run_studies
from goodshot.runner.run.options import Options
from goodshot.runner.store.artifacts import COMMIT, Store
from goodshot.runner.study.study import Study
from tests.conftest import TINY
from tests.runner.loopback_nodes import values

SHARES_RAY = True
Made = tuple[Path, Study, dict[str, tuple[object, ...]]]
PAGE = b"<html><body>503 Service Unavailable</body></html>"
"""What a proxy sends instead of an object."""


@pytest.fixture(scope="module")
def made(
    photographs: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Study, dict[str, tuple[object, ...]]]:
    """A store, its study, and what its rows say."""

    study = Study.model_validate({**TINY, "dataset": {"name": "demo", "root": str(photographs)}})
    folder = tmp_path_factory.mktemp("made")
    options = Options(str(folder / "out"), str(folder / "store"), local=True)
    run_studies([study], options, Console(quiet=True))
    return folder / "store", study, values(Results(options.out).rows())


@pytest.fixture(autouse=True)
def _untracked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")


def halved(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def another_page(file: Path) -> None:
    file.write_bytes(PAGE)


IMAGES, TEST, TRAIN = "image_set/*/*/images.safetensors", "shard/*/*/test.arrow", "shard/*/*/train.arrow"


@pytest.mark.parametrize(
    ("pattern", "damage", "remade", "local"),
    [
        (IMAGES, halved, "generator", True),
        (IMAGES, another_page, "generator", False),
        (f"image_set/*/{COMMIT}", another_page, "generator", True),
        (TEST, halved, "shard", False),
        (TEST, another_page, "shard", True),
        (TRAIN, another_page, "shard", True),
        ("prompt/*/*/ranking.json", halved, "", True),
    ],
)
def test_a_damaged_artifact_is_made_anew(
    made: Made,
    tmp_path: Path,
    pattern: str,
    damage: Callable[[Path], None],
    remade: str,
    local: bool,
) -> None:
    store, study, wanted = made
    shutil.copytree(store, tmp_path / "store")
    (file,) = (tmp_path / "store").glob(pattern)
    damage(file)
    options = Options(str(tmp_path / "out"), str(tmp_path / "store"), local=local)
    _, run = run_studies([study], options, Console(quiet=True))
    assert run.failed == 0
    assert values(Results(options.out).rows()) == wanted
    # What no cell of the study reads again is not looked at.
    stages = {kind: count for kind, count in run.executed.items() if kind != "detection"}
    assert stages == ({remade: 1} if remade else {})
    assert bool(run.retries) == bool(remade)


def test_an_artifact_that_cannot_be_read_for_a_moment_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(tmp_path))
    store.put("a/b", {"x": b"content"}, {})
    with monkeypatch.context() as patch:
        patch.setattr("goodshot.runner.store.files.Files.read", lambda *_: (_ for _ in ()).throw(TimeoutError("late")))
        assert not store.take_back_if_damaged("a/b")
    assert not store.take_back_if_damaged("a/b")
    assert store.get("a/b").read("x") == b"content"
    assert not store.take_back_if_damaged("not/there")
