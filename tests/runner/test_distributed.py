"""One generator by two workers in a real process group (gloo) under Ray Train: the same gradients as by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from safetensors.torch import load_file

from components.errors import BadInput
from components.generator.config import GeneratorConfig, VQGANConfig
from components.generator.generator import Generator
from runner.cluster.connection import cluster
from runner.cluster.distributed import GRADIENTS, SharedTraining, shared_steps, train_shared

# One code: of many, two are nearly as near to some latent, and the rounding of a smaller batch may choose the other.
CONFIG = GeneratorConfig(
    resolution=32,
    vqgan=VQGANConfig(channels=8, channel_multipliers=(1, 2), latent_channels=8, codebook_size=1),
    perceptual="none",
    originals_per_step=2,
    train_samples=3,
)


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    coffee, cat = np.asarray(skimage.data.coffee()), np.asarray(skimage.data.chelsea())
    return [coffee[100:300, 150:400], cat[:200, :200], coffee[:200, :200], cat[50:250, 100:300]]


@pytest.fixture
def ray_here() -> Iterator[None]:
    with cluster(None, 3):
        yield


@pytest.mark.slow
def test_two_workers_give_the_gradients_of_one(ray_here: None, photos: list[np.ndarray], tmp_path: Path) -> None:
    training = SharedTraining(photos, CONFIG, 1.0, 0, iterations=0, folder=str(tmp_path), keep_gradients=True)
    train_shared(training, workers=2)
    shared = load_file(tmp_path / GRADIENTS)
    alone = Generator(photos, CONFIG, 1.0, 0).gradients()
    assert shared.keys() == alone.keys()
    flat, expected = (torch.cat([g[name].flatten() for name in alone]) for g in (shared, alone))
    # Another order of summation changes it by 1e-5 of its norm; a wrong share of a worker, by more than 1e-2.
    assert (flat - expected).norm() < 1e-3 * expected.norm()
    # And what they train is one generator, which a single process goes on with.
    checkpoint = train_shared(replace(training, iterations=3, keep_gradients=False), workers=2)
    continued = Generator(photos, CONFIG, 1.0, 0).restore(checkpoint)
    straight = Generator(photos, CONFIG, 1.0, 0)
    losses = straight.advance(4)
    assert continued.iteration == 3
    assert continued.step().total == pytest.approx(losses[3].total, rel=1e-2)


def test_more_workers_than_originals_are_refused(photos: list[np.ndarray], tmp_path: Path) -> None:
    training = SharedTraining(photos, CONFIG, 1.0, 0, iterations=1, folder=str(tmp_path))
    with pytest.raises(BadInput, match="3 workers share a step's originals, of which there are 2"):
        train_shared(training, workers=3)


@pytest.mark.slow
def test_steps_shared_by_workers_continue_a_generator(ray_here: None, photos: list[np.ndarray], tmp_path: Path) -> None:
    """What ``goodshot generate --workers 2`` does between two scored iterations."""
    alone, shared = (Generator(photos, CONFIG, 1.0, 0) for _ in range(2))
    expected = alone.advance(4)
    losses = shared.advance(2)
    losses += shared_steps(SharedTraining(photos, CONFIG, 1.0, 0, iterations=4, folder=""), shared, workers=2)
    assert shared.iteration == 4
    assert [step.iteration for step in losses] == [1, 2, 3, 4]
    assert [step.total for step in losses] == pytest.approx([step.total for step in expected], rel=1e-2)
