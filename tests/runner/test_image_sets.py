"""The training stage without Ray, on real photographs and the embedded encoder: prefixes, resuming, replay."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from goodshot.components.integrator import Trace, similarities
from goodshot.runner.executor.local import LocalExecutor
from goodshot.runner.run.execute import plan_studies
from goodshot.runner.run.options import Options
from goodshot.runner.stages.base import Context, load_value
from goodshot.runner.stages.image_set import ImageSetStage
from goodshot.runner.stages.prompt import PromptStage
from goodshot.runner.stages.traces import read_curve
from goodshot.runner.stages.training import TrainingStage
from goodshot.runner.store.artifacts import Store
from goodshot.runner.study.settings import validate
from goodshot.runner.study.study import Study
from tests.conftest import TINY

MakeTraining = Callable[..., "Training"]


@dataclass(frozen=True)
class Training:
    """A study's only training and all image sets that the study wants of it, with a store for them."""

    stage: TrainingStage
    image_sets: tuple[ImageSetStage, ...]
    store: Store

    def make(self, stop_after: int | None = None) -> int:
        """Make the image sets. Returns the updates executed; ``stop_after`` kills it once so many were made."""
        executed = 0

        def stepped(made: int, steps: int, seconds: float) -> None:
            nonlocal executed
            executed += steps
            if stop_after is not None and executed >= stop_after:
                raise KeyboardInterrupt

        context = Context(self.store, partial(load_value, store=self.store), stepped=stepped)
        self.stage.run(context, self.image_sets)
        return executed

    def images(self) -> dict[tuple[int, int, str], tuple[int, np.ndarray]]:
        """(L, copies, detail) → (chosen iteration, images)."""
        found = {}
        for s in self.image_sets:
            artifact = self.store.get(s.key)
            images = artifact.arrays("images.safetensors")["images"]
            found[s.iterations, s.copies, s.detail] = (artifact.info["iteration"], images)
        return found

    def curve_lengths(self) -> list[int]:
        """How many scored iterations the stored similarity curve of each image set has."""
        curves = (read_curve(self.store, s.key, s.prompt, s.prompt_kind) for s in self.image_sets)
        return [len(curve.iterations) for curve in curves]


@pytest.fixture(scope="module")
def ranked(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with what every training here stands on: the shard and the ranked prompts."""
    out = tmp_path_factory.mktemp("ranked")
    study = validate({**TINY, "dataset": {"name": "demo", "root": str(photographs)}}, "tiny")
    plan = plan_studies([study], Options(str(out)))
    (prompt,) = plan.of(PromptStage)
    LocalExecutor(plan, Store(str(out / "store"))).make(prompt.id)
    return out / "store"


@pytest.fixture
def training(tiny_study: Callable[..., Study], ranked: Path, tmp_path: Path) -> MakeTraining:
    """The training of a tiny study with these fields, in the store of this name."""

    def make(store_name: str = "store", **fields: object) -> Training:
        plan = plan_studies([tiny_study(**fields)], Options(str(tmp_path)))
        if not (tmp_path / store_name).exists():
            shutil.copytree(ranked, tmp_path / store_name)
        (stage,) = plan.of(TrainingStage)
        return Training(stage, tuple(plan.of(ImageSetStage)), Store(str(tmp_path / store_name)))

    return make


def assert_same(one: Training, other: Training) -> None:
    """The image sets that both have declared are the same, bit for bit."""
    ours, theirs = one.images(), other.images()
    shared = ours.keys() & theirs.keys()
    assert shared
    for key in shared:
        assert ours[key][0] == theirs[key][0], key
        np.testing.assert_array_equal(ours[key][1], theirs[key][1], err_msg=str(key))


def test_one_training_serves_every_copies_and_l(training: MakeTraining) -> None:
    many = training(copies=[1, 3], iterations=[4, 8], detail=["none", "residual"])
    assert many.make() == 7
    assert len(many.images()) == 8
    for copies, iterations in ((1, 4), (3, 8)):
        alone = training(f"alone-{copies}", copies=[copies], iterations=[iterations])
        alone.make()
        assert_same(alone, many)


def test_the_stored_choice_is_eq_5_of_the_stored_trace(training: MakeTraining) -> None:
    made = training(copies=[3], iterations=[8])
    made.make()
    (image_set,) = made.image_sets
    info = made.store.get(image_set.key).info
    arrays = made.store.get(f"{info['generator']}/{info['trace']}").arrays("trace.safetensors")
    text = made.store.get(image_set.prompt).arrays("embeddings.safetensors")["best"]
    mean = arrays["embeddings"].mean(axis=1)
    cosine = mean @ text / np.linalg.norm(mean, axis=1)
    assert list(arrays["iterations"]) == [2, 4, 6, 8]
    assert info["iteration"] == arrays["iterations"][cosine.argmax()]
    assert info["similarity"] == pytest.approx(cosine.max(), abs=1e-5)
    assert len(arrays["loss_total"]) == 7


def test_more_iterations_continue_and_equal_a_straight_run(training: MakeTraining) -> None:
    training(iterations=[4]).make()
    longer = training(iterations=[4, 10])
    steps = longer.make()
    straight = training("straight", iterations=[4, 10])
    straight.make()
    assert_same(longer, straight)
    # 6 steps to go on from 3 to 9; replaying a chosen set of the first part may cost a few more
    assert 6 <= steps <= 9


def test_a_killed_training_continues_from_its_last_commit(training: MakeTraining) -> None:
    killed = training(copies=[1], iterations=[4, 12])
    with pytest.raises(KeyboardInterrupt):
        killed.make(stop_after=8)
    assert [killed.store.has(s.key) for s in killed.image_sets] == [True, False]
    assert killed.make() < 11
    straight = training("straight", copies=[1], iterations=[4, 12])
    straight.make()
    assert_same(killed, straight)
    assert killed.make() == 0


def test_a_set_nobody_declared_is_replayed(training: MakeTraining) -> None:
    training(copies=[4], iterations=[8]).make()
    later = training(copies=[2], iterations=[8], prompt_kind=["worst"])
    later.make()
    alone = training("alone", copies=[2], iterations=[8], prompt_kind=["worst"])
    alone.make()
    assert_same(later, alone)


def test_similarity_uses_only_the_first_copies(training: MakeTraining) -> None:
    made = training(copies=[1, 3], iterations=[4])
    made.make()
    info = {s.copies: made.store.get(s.key).info for s in made.image_sets}
    arrays = made.store.get(f"{made.stage.key}/{info[1]['trace']}").arrays("trace.safetensors")
    text = made.store.get(made.image_sets[0].prompt).arrays("embeddings.safetensors")["best"]
    for copies in (1, 3):
        curve = similarities(Trace(arrays["iterations"], arrays["embeddings"]), text, copies)
        assert info[copies]["similarity"] == pytest.approx(curve.max(), abs=1e-6)


def test_studies_of_other_details_and_copies_leave_each_others_traces_alone(training: MakeTraining) -> None:
    first = training(copies=[3], iterations=[4])
    first.make()
    training(copies=[2], iterations=[4], detail=["none", "residual"]).make()
    assert first.curve_lengths() == [2]
    longer = training(copies=[2], iterations=[8], detail=["none", "residual"])
    longer.make()
    alone = training("alone", copies=[2], iterations=[8], detail=["none", "residual"])
    alone.make()
    assert_same(longer, alone)
    assert longer.curve_lengths() == [4, 4]


def test_another_encoder_of_the_same_name_scores_anew(training: MakeTraining) -> None:
    made = training(iterations=[4])
    made.make()
    (image_set,) = made.image_sets
    stage = replace(made.stage, scoring="other")
    other = Training(stage, (replace(image_set, key="image_set/other", training=stage.id),), made.store)
    assert (other.stage.id, other.stage.key) == (made.stage.id.replace(made.stage.scoring, "other"), made.stage.key)
    assert other.make() == 3


def test_a_long_training_is_saved_on_the_way(training: MakeTraining, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("goodshot.runner.stages.image_sets.CHECKPOINT_SECONDS", -1.0)
    killed = training(copies=[1], iterations=[12])
    with pytest.raises(KeyboardInterrupt):
        killed.make(stop_after=8)
    assert [p for p in killed.store.parts(killed.stage.key) if p.startswith("checkpoint")] == ["checkpoint-000007"]
    # 4 steps to go on from 7 to 11; replaying the chosen set may cost some of the first 7
    assert killed.make() < 11
    straight = training("straight", copies=[1], iterations=[12])
    straight.make()
    assert_same(killed, straight)
    assert killed.curve_lengths() == [6]
