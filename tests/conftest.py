"""What several tests share: real photographs, and small studies over them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from components.data.demo import write_demo
from runner.cluster import require_token
from runner.settings import validate
from runner.study import Study

# Before any test module imports Ray, as the command line does.
require_token()

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
    torch.set_num_threads(1)


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
