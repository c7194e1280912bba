"""Small real datasets: the demo, written once a session, and the photographs beside the repository."""

import os
from pathlib import Path

import pytest

from goodshot.components.data import write_demo

# Where the repository is checked out elsewhere (a second worktree), the variable says where they are.
SHARED = Path(os.environ.get("GOODSHOT_SHARED_DATA") or Path(__file__).resolve().parents[2].parent / "shared" / "data")


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo(tmp_path_factory.mktemp("demo") / "set")


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the real photographs in ../shared/data are not here")
    return SHARED
