"""One generator by two workers in a real process group (gloo) under Ray Train: the same gradients as by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from rich.console import Console
from safetensors.torch import load_file

from goodshot.components.errors import BadInput, GoodshotError
from goodshot.components.generator.config import GeneratorConfig, VQGANConfig
from goodshot.runner.cluster.connection import cluster
from goodshot.runner.cluster.together import GRADIENTS, Group, Order, Workers
from goodshot.runner.results.results import Results
from goodshot.runner.run.execute import run_studies
from goodshot.runner.run.options import Options
from goodshot.runner.stages.generator import GeneratorSpec
from goodshot.runner.stages.image_set import ImageSetStage
from goodshot.runner.store.artifacts import Artifact, Store
from goodshot.runner.study.study import Study
from tests.conftest import TINY

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


@pytest.fixture(scope="module")
def spec(photos: list[np.ndarray]) -> GeneratorSpec:
    return GeneratorSpec(photos, CONFIG, 1.0, 0)


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    """A CPU for each of two workers, and one for the process that they train for."""
    with cluster(None, 3):
        yield


@pytest.mark.slow
def test_two_workers_give_the_gradients_of_one(ray_here: None, spec: GeneratorSpec) -> None:
    generator = spec.build("cpu")
    group = Group(Workers(2), spec, generator)
    try:
        group.follow(Order(0, keep_gradients=True), generator)
        shared = load_file(group.folder / GRADIENTS)
    finally:
        group.close()
    alone = spec.build("cpu").gradients()
    assert shared.keys() == alone.keys()
    flat, expected = (torch.cat([g[name].flatten() for name in alone]) for g in (shared, alone))
    # Another order of summation changes it by 1e-5 of its norm; a wrong share of a worker, by more than 1e-2.
    assert (flat - expected).norm() < 1e-3 * expected.norm()


def test_more_workers_than_originals_are_refused(spec: GeneratorSpec, tiny_study: Callable[..., Study]) -> None:
    with Workers(3) as workers, pytest.raises(BadInput, match="3 workers share a step's originals, of which there are"):
        workers.train(spec, spec.build("cpu"), 1)
    generator = {**TINY["generator"], "originals_per_step": 2}
    for shots in (5, "full"):
        with pytest.raises(
            BadInput, match="generator_workers: 3 workers share a step's originals, of which there are 2"
        ):
            tiny_study(shots=shots, generator=generator, resources={"generator_workers": 3})


@pytest.mark.slow
def test_steps_shared_by_workers_continue_a_generator(ray_here: None, spec: GeneratorSpec) -> None:
    """What ``goodshot generate --workers 2`` does: the processes wait while the caller samples, and go on."""
    alone, shared = (spec.build("cpu") for _ in range(2))
    expected = alone.advance(5)
    losses = shared.advance(2)
    with Workers(2) as workers:
        for to in (4, 5):
            losses += workers.train(spec, shared, to)
            shared.sample(1)
        assert workers.train(spec, shared, 5) == []
        # Another generator, such as that of an earlier checkpoint, begins anew with its own state.
        again = spec.build("cpu")
        assert [step.iteration for step in workers.train(spec, again, 2)] == [1, 2]
    assert shared.iteration == 5
    assert [step.iteration for step in losses] == [1, 2, 3, 4, 5]
    assert [step.total for step in losses] == pytest.approx([step.total for step in expected], rel=1e-2)


@pytest.mark.slow
def test_a_worker_that_fails_is_one_line(ray_here: None, photos: list[np.ndarray]) -> None:
    spec = GeneratorSpec(photos, CONFIG.model_copy(update={"init": "/nowhere.safetensors"}), 1.0, 0)
    with Workers(2) as workers, pytest.raises(GoodshotError, match="one of 2 training workers failed: "):
        workers.train(spec, GeneratorSpec(photos, CONFIG, 1.0, 0).build("cpu"), 1)


SHARED: dict[str, Any] = {
    "arms": ["generated"],
    "copies": [2],
    "iterations": [3],
    "score_every": 3,
    "resources": {"generator_workers": 2},
}


def only_image_set(study: Study, options: Options) -> tuple[Artifact, Store]:
    """Run a study; its only image set, and the store that it lies in."""
    plan, run = run_studies([study], options, Console(quiet=True))
    assert run.failed == 0
    (stage,) = plan.of(ImageSetStage)
    store = Store(options.store_uri)
    return store.get(stage.key), store


@pytest.mark.slow
def test_a_study_may_train_each_generator_by_several_workers(
    ray_here: None, tiny_study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From inside the actor that makes the image sets; it is the same training to another rounding, and says so."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    study = tiny_study(**SHARED, shots=2)
    together, store = only_image_set(study, Options(str(tmp_path / "together")))
    by_one = tiny_study(**{**SHARED, "resources": {}}, shots=2)
    alone, other = only_image_set(by_one, Options(str(tmp_path / "alone"), local=True))
    assert together.info["generator"] != alone.info["generator"]
    losses = [
        where.get(f"{made.info['generator']}/{made.info['trace']}").arrays("trace.safetensors")["loss_total"]
        for made, where in ((together, store), (alone, other))
    ]
    assert len(losses[0]) == 2
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    images = [made.arrays("images.safetensors")["images"].astype(float) / 255 for made in (together, alone)]
    assert images[0].std() > 0.01
    assert np.abs(images[0] - images[1]).mean() < 1e-2 * images[1].mean()


@pytest.mark.slow
def test_a_support_that_is_too_small_for_its_workers_fails_in_one_line(
    ray_here: None, tiny_study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be known before the support is: the actor does hand its training to the workers."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    study = tiny_study(**SHARED, support={"coin": ["train/good/000.png"]})
    _, run = run_studies([study], Options(str(tmp_path / "out")), Console(quiet=True))
    assert run.failed == 1
    (failure,) = Results(str(tmp_path / "out")).read("failures").to_pylist()
    assert failure["error"] == "2 workers share a step's originals, of which there are 1; use fewer workers"
