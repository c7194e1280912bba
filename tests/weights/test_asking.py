"""What a library publishes is asked of it in another process, once for each version."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from goodshot.components.errors import GoodshotError, MissingWeights
from goodshot.components.weights.asking import asked


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of a process that has not imported torch."""
    monkeypatch.setenv("GOODSHOT_CACHE", str(tmp_path))
    monkeypatch.delitem(sys.modules, "torch")
    return tmp_path


def test_another_process_answers_once(cache: Path) -> None:
    assert asked("timm", os.getppid) == os.getpid()
    (kept,) = (cache / "published").iterdir()
    kept.write_text('"as kept"')
    assert asked("timm", os.getppid) == "as kept"
    kept.write_text("half an ans")
    assert asked("timm", os.getppid) == os.getpid()


def test_a_cache_that_cannot_be_written(cache: Path) -> None:
    (cache / "published").write_text("no folder")
    assert asked("timm", os.getppid) == os.getpid()


def test_a_library_that_is_absent_or_broken(cache: Path) -> None:
    with pytest.raises(MissingWeights, match=r"nosuch is not installed; remedy: pip install nosuch"):
        asked("nosuch", os.getppid)
    with pytest.raises(
        GoodshotError, match=r"^timm: cannot be imported \(no reason given\); remedy: pip install timm$"
    ):
        asked("timm", os.abort)
