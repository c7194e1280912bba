"""The generator stage without Ray, on real photographs and the embedded encoder: prefixes, resuming, replay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from components.encoders import Encoder, build_encoder
from components.generator.generator import Generator
from components.integrator import similarities
from runner.plan.plan import GeneratorStage
from runner.run.execute import plan_studies
from runner.run.options import Options
from runner.stages.image_sets import ImageSets
from runner.stages.shard import make_shards, read_support
from runner.stages.stages import rank_prompts
from runner.stages.traces import read_curve
from runner.store.artifacts import Store
from runner.study.study import Study


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return build_encoder("conse-lite0-minilm")


def stage_of(study: Study, store: Store, tmp_path: Path) -> GeneratorStage:
    """The study's only generator stage, with what it stands on already in the store."""
    plan = plan_studies([study], Options(str(tmp_path)))
    for category in plan.categories.values():
        if not store.has(category.shard):
            make_shards(category.samples, category.shard, store)
    for prompt in plan.prompts.values():
        if not store.has(prompt.key):
            rank_prompts(prompt, read_support(prompt.support, store), store)
    (stage,) = plan.generators.values()
    return stage


def make(stage: GeneratorStage, store: Store, encoder: Encoder, stop_after: int | None = None) -> int:
    """Run the stage; ``stop_after`` kills it once so many steps were made."""
    made = 0

    def start() -> Generator:
        originals = read_support(stage.support, store)
        return Generator(originals, stage.config, stage.vq_weight, stage.seed, stage.augmentation)

    def on_step(steps: int, seconds: float) -> None:
        nonlocal made
        made += steps
        if stop_after is not None and made >= stop_after:
            raise KeyboardInterrupt

    return ImageSets(stage, store, encoder, start, on_step).make()


def images_of(stage: GeneratorStage, store: Store) -> dict[tuple[int, int, str], tuple[int, np.ndarray]]:
    """(L, copies, detail) → (chosen iteration, images)."""
    found = {}
    for s in stage.image_sets:
        artifact = store.get(s.key)
        images = artifact.arrays("images.safetensors")["images"]
        found[s.iterations, s.copies, s.detail] = (artifact.info["iteration"], images)
    return found


def assert_same(one: dict, other: dict) -> None:  # type: ignore[type-arg]
    for key in one.keys() & other.keys():
        assert one[key][0] == other[key][0], key
        np.testing.assert_array_equal(one[key][1], other[key][1], err_msg=str(key))


def test_one_training_serves_every_copies_and_l(
    tiny_study: Callable[..., Study], tmp_path: Path, encoder: Encoder
) -> None:
    shared = Store(str(tmp_path / "shared"))
    many = stage_of(tiny_study(copies=[2, 5], iterations=[4, 8], detail=["none", "residual"]), shared, tmp_path)
    assert make(many, shared, encoder) == 7
    together = images_of(many, shared)
    assert len(together) == 8
    for copies, iterations in ((2, 4), (5, 8)):
        alone_store = Store(str(tmp_path / f"alone-{copies}"))
        alone = stage_of(tiny_study(copies=[copies], iterations=[iterations]), alone_store, tmp_path)
        make(alone, alone_store, encoder)
        assert_same(images_of(alone, alone_store), together)


def test_the_stored_choice_is_eq_5_of_the_stored_trace(
    tiny_study: Callable[..., Study], tmp_path: Path, encoder: Encoder
) -> None:
    store = Store(str(tmp_path / "store"))
    stage = stage_of(tiny_study(copies=[3], iterations=[8]), store, tmp_path)
    make(stage, store, encoder)
    info = store.get(stage.image_sets[0].key).info
    arrays = store.get(f"{info['generator']}/{info['trace']}").arrays("trace.safetensors")
    text = store.get(stage.image_sets[0].prompt).arrays("embeddings.safetensors")["best"]
    mean = arrays["embeddings"].mean(axis=1)
    cosine = mean @ text / np.linalg.norm(mean, axis=1)
    assert list(arrays["iterations"]) == [2, 4, 6, 8]
    assert info["iteration"] == arrays["iterations"][cosine.argmax()]
    assert info["similarity"] == pytest.approx(cosine.max(), abs=1e-5)
    assert len(arrays["loss_total"]) == 7


def test_more_iterations_continue_and_equal_a_straight_run(
    tiny_study: Callable[..., Study], tmp_path: Path, encoder: Encoder
) -> None:
    store, straight_store = Store(str(tmp_path / "store")), Store(str(tmp_path / "straight"))
    make(stage_of(tiny_study(iterations=[4]), store, tmp_path), store, encoder)
    longer = stage_of(tiny_study(iterations=[4, 10]), store, tmp_path)
    steps = make(longer, store, encoder)
    straight = stage_of(tiny_study(iterations=[4, 10]), straight_store, tmp_path)
    make(straight, straight_store, encoder)
    assert_same(images_of(longer, store), images_of(straight, straight_store))
    # 6 steps to go on from 3 to 9; replaying a chosen set of the first part may cost a few more
    assert 6 <= steps <= 9


def test_a_killed_training_continues_from_its_last_commit(
    tiny_study: Callable[..., Study], tmp_path: Path, encoder: Encoder
) -> None:
    study = tiny_study(iterations=[4, 12])
    store, straight_store = Store(str(tmp_path / "store")), Store(str(tmp_path / "straight"))
    stage = stage_of(study, store, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        make(stage, store, encoder, stop_after=8)
    assert [store.has(s.key) for s in stage.image_sets] == [True, False]
    assert make(stage, store, encoder) < 11
    straight = stage_of(study, straight_store, tmp_path)
    make(straight, straight_store, encoder)
    assert_same(images_of(stage, store), images_of(straight, straight_store))
    assert make(stage, store, encoder) == 0


def test_a_set_nobody_declared_is_replayed(tiny_study: Callable[..., Study], tmp_path: Path, encoder: Encoder) -> None:
    store, alone_store = Store(str(tmp_path / "store")), Store(str(tmp_path / "alone"))
    make(stage_of(tiny_study(copies=[4], iterations=[8]), store, tmp_path), store, encoder)
    undeclared = tiny_study(copies=[2], iterations=[8], prompt_kind=["worst"])
    later = stage_of(undeclared, store, tmp_path)
    make(later, store, encoder)
    alone = stage_of(undeclared, alone_store, tmp_path)
    make(alone, alone_store, encoder)
    assert_same(images_of(later, store), images_of(alone, alone_store))


def test_similarity_uses_only_the_first_copies(
    tiny_study: Callable[..., Study], tmp_path: Path, encoder: Encoder
) -> None:
    store = Store(str(tmp_path / "store"))
    stage = stage_of(tiny_study(copies=[2, 5], iterations=[4]), store, tmp_path)
    make(stage, store, encoder)
    info = {s.copies: store.get(s.key).info for s in stage.image_sets}
    arrays = store.get(f"{stage.key}/{info[2]['trace']}").arrays("trace.safetensors")
    from components.integrator import Trace

    text = store.get(stage.image_sets[0].prompt).arrays("embeddings.safetensors")["best"]
    for copies in (2, 5):
        curve = similarities(Trace(arrays["iterations"], arrays["embeddings"]), text, copies)
        assert info[copies]["similarity"] == pytest.approx(curve.max(), abs=1e-6)


def curve_lengths(stage: GeneratorStage, store: Store) -> list[int]:
    return [len(read_curve(store, s.key, s.prompt, s.prompt_kind).iterations) for s in stage.image_sets]


def test_studies_of_other_details_and_copies_leave_each_others_traces_alone(
    tiny_study: Callable[..., Study], tmp_path: Path, encoder: Encoder
) -> None:
    store = Store(str(tmp_path / "store"))
    first = stage_of(tiny_study(copies=[5], iterations=[4]), store, tmp_path)
    make(first, store, encoder)
    make(stage_of(tiny_study(copies=[2], iterations=[4], detail=["none", "residual"]), store, tmp_path), store, encoder)
    assert curve_lengths(first, store) == [2]
    longer = stage_of(tiny_study(copies=[2], iterations=[8], detail=["none", "residual"]), store, tmp_path)
    make(longer, store, encoder)
    alone_store = Store(str(tmp_path / "alone"))
    alone = stage_of(tiny_study(copies=[2], iterations=[8], detail=["none", "residual"]), alone_store, tmp_path)
    make(alone, alone_store, encoder)
    assert_same(images_of(longer, store), images_of(alone, alone_store))
    assert curve_lengths(longer, store) == [4, 4]


def test_another_encoder_of_the_same_name_scores_anew(
    tiny_study: Callable[..., Study], tmp_path: Path, encoder: Encoder
) -> None:
    store = Store(str(tmp_path / "store"))
    stage = stage_of(tiny_study(iterations=[4]), store, tmp_path)
    make(stage, store, encoder)
    (image_set,) = stage.image_sets
    other = replace(stage, scoring="other", image_sets=(replace(image_set, key="image_set/other"),))
    assert other.flight != stage.flight
    assert make(other, store, encoder) == 3


def test_a_long_training_is_saved_on_the_way(
    tiny_study: Callable[..., Study], tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, straight_store = Store(str(tmp_path / "store")), Store(str(tmp_path / "straight"))
    monkeypatch.setattr("runner.stages.image_sets.CHECKPOINT_SECONDS", -1.0)
    stage = stage_of(tiny_study(iterations=[12]), store, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        make(stage, store, encoder, stop_after=8)
    assert [p for p in store.parts(stage.key) if p.startswith("checkpoint")] == ["checkpoint-000007"]
    # 4 steps to go on from 7 to 11; replaying the chosen set may cost some of the first 7
    assert make(stage, store, encoder) < 11
    straight = stage_of(tiny_study(iterations=[12]), straight_store, tmp_path)
    make(straight, straight_store, encoder)
    assert_same(images_of(stage, store), images_of(straight, straight_store))
    assert curve_lengths(stage, store) == [6]
