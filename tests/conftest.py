"""What several tests share: real photographs, and small studies over them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from goodshot.components.data import write_demo
from goodshot.runner.cluster.connection import cluster, require_token
from goodshot.runner.study.settings import validate
from goodshot.runner.study.study import Study

# Before anything imports Ray, as the command line does.
require_token()

import ray  # noqa: E402

TINY: dict[str, Any] = {
    "name": "tiny",
    "categories": ["coin"],
    "support_seeds": [0],
    "vq_weight": [1.0],
    "copies": [2],
    "iterations": [4],
    "score_every": 2,
    "generator": {
        "resolution": 32,
        "perceptual": "none",
        "vqgan": {"channels": 8, "channel_multipliers": [1, 2], "latent_channels": 8, "codebook_size": 32},
    },
    "detectors": [{"image_size": 64}],
}


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Bit-exact comparisons need a fixed thread count, and two busy cores are slower with more."""
    torch.set_num_threads(int(os.environ.get("TEST_THREADS", "1")))


def pytest_configure(config: pytest.Config) -> None:
    """Costs, rankings and weights that tests leave go to a cache of their own, and none are read from the user's."""
    if "GOODSHOT_CACHE" not in os.environ:
        folder = os.environ["GOODSHOT_CACHE"] = tempfile.mkdtemp(prefix="goodshot-tests-")
        config.add_cleanup(partial(shutil.rmtree, folder, ignore_errors=True))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules that share a Ray come first, as they take longest, and one after the other, so that it starts once."""
    items.sort(key=lambda item: not getattr(getattr(item, "module", None), "SHARES_RAY", False))


@pytest.fixture(scope="session")
def _shared_ray() -> Iterator[ExitStack]:
    with ExitStack() as started:
        yield started


@pytest.fixture(scope="module", autouse=True)
def _ray(request: pytest.FixtureRequest, _shared_ray: ExitStack) -> None:
    """Modules that say ``SHARES_RAY = True`` run their studies on one Ray, whose processes have imported all they need.

    Starting one, and the imports of its workers, take longer than most studies of these tests. Its processes have the
    environment of whoever started it: a module that changes theirs, or how many CPUs there are, starts its own.
    """
    shares = getattr(request.module, "SHARES_RAY", False)
    if shares and not ray.is_initialized():
        _shared_ray.enter_context(cluster(None, 4))
    elif not shares:
        _shared_ray.close()


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's photographs, cut once."""
    return write_demo(tmp_path_factory.mktemp("photographs") / "demo")


@pytest.fixture
def tiny_study(photographs: Path) -> Callable[..., Study]:
    """A study that trains a tiny generator for seconds; keyword arguments replace its fields."""

    def make(**fields: Any) -> Study:
        return validate({**TINY, "dataset": {"name": "demo", "root": str(photographs)}, **fields}, "tiny")

    return make
