"""The arm ``vqgan_clip`` as a stage: planned beside the generated arm, prefix in copies, resumed image by image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.encoders import Encoder, build_encoder
from components.generator.config import VQGANConfig
from components.generator.generator import Generator
from components.generator.start import save_vqgan
from components.generator.vqgan import VQGAN
from runner.plan.plan import Plan, VQGANClipStage
from runner.run.execute import plan_studies
from runner.run.options import Options
from runner.stages.image_sets import ImageSets
from runner.stages.shard import make_shards, read_support
from runner.stages.stages import rank_prompts
from runner.stages.vqgan_clip import make_vqgan_clip
from runner.store.artifacts import Store
from runner.study.study import Study
from tests.conftest import TINY

CLIP: dict[str, Any] = {"arms": ["vqgan_clip"], "vqgan_clip": {"iterations": 2, "cutouts": 2}}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return build_encoder("conse-lite0-minilm")


def plan_of(study: Study, tmp_path: Path) -> Plan:
    return plan_studies([study], Options(str(tmp_path / "out")))


def prepared(study: Study, store: Store, tmp_path: Path) -> VQGANClipStage:
    """The study's only stage, with what it stands on (its shard and prompt) in the store."""
    plan = plan_of(study, tmp_path)
    for category in plan.categories.values():
        if not store.has(category.shard):
            make_shards(category.samples, category.shard, store)
    for prompt in plan.prompts.values():
        if not store.has(prompt.key):
            rank_prompts(prompt, read_support(prompt.support, store), store)
    (stage,) = plan.vqgan_clip.values()
    return stage


def starter(stage: VQGANClipStage, store: Store) -> Callable[[], Generator]:
    t = stage.training
    originals = read_support(t.support, store)
    return lambda: Generator(originals, t.config, t.vq_weight, t.seed, t.augmentation)


def make(stage: VQGANClipStage, store: Store, encoder: Encoder) -> tuple[np.ndarray, int]:
    """The stage's images, and how many generator steps had to be replayed."""
    replayed: list[int] = []
    make_vqgan_clip(stage, store, encoder, starter(stage, store), lambda steps, seconds: replayed.append(steps))
    return store.get(stage.key).arrays("images.safetensors")["images"], sum(replayed)


def test_it_shares_the_generated_arms_training(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    alone = plan_of(tiny_study(**{**CLIP, "arms": ["generated"]}), tmp_path)
    both = plan_of(tiny_study(**{**CLIP, "arms": ["generated", "vqgan_clip"]}), tmp_path)
    assert both.generators == alone.generators
    (stage,) = both.vqgan_clip.values()
    assert stage.training.flight in both.generators
    assert stage.updates == 3


def test_it_is_varied_by_what_makes_it_and_by_nothing_else(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    study = tiny_study(
        **{**CLIP, "arms": ["vqgan_clip"]},
        vq_weight=[0.5, 1.0],
        iterations=[2, 4],
        copies=[1, 2],
        prompt_kind=["best", "naive"],
        select=["text", "last"],
        detail=["none", "residual"],
        post_augment=["none", "strong"],
    )
    plan = plan_of(study, tmp_path)
    assert len(plan.cells) == len(plan.vqgan_clip) == 2 * 2 * 2
    assert len({stage.images for stage in plan.vqgan_clip.values()}) == 2 * 2
    for planned in plan.cells.values():
        columns = planned.columns
        assert (columns["arm"], columns["iterations"]) == ("vqgan_clip", 4)
        assert columns["select"] is columns["detail"] is columns["post_augment"] is None
        assert columns["prompt_kind"] in ("best", "naive")


@pytest.mark.parametrize(
    "change",
    [
        {"vqgan_clip": {"iterations": 3, "cutouts": 2}},
        {"vqgan_clip": {"iterations": 2, "cutouts": 3}},
        {"vqgan_clip": {"iterations": 2, "cutouts": 2, "learning_rate": 0.2}},
        {"prompt_kind": ["naive"]},
        {"iterations": [6]},
        {"seed": 9},
        {"copies": [3]},
    ],
    ids=str,
)
def test_its_identity(change: dict[str, Any], tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    base, other = (plan_of(tiny_study(**{**CLIP, **c}), tmp_path) for c in ({}, change))
    assert not {*base.vqgan_clip} & {*other.vqgan_clip}
    assert not {*base.cells} & {*other.cells}


def test_copies_are_a_prefix_and_only_new_ones_are_made(
    tiny_study: Callable[..., Study], tmp_path: Path, encoder: Encoder
) -> None:
    store, fresh = Store(str(tmp_path / "store")), Store(str(tmp_path / "fresh"))
    few, _ = make(prepared(tiny_study(**CLIP, copies=[1]), store, tmp_path), store, encoder)
    stage = prepared(tiny_study(**CLIP, copies=[3]), store, tmp_path)
    first = tmp_path / "store" / stage.images / "image-00000" / "commit.json"
    before = first.stat().st_mtime_ns
    many, _ = make(stage, store, encoder)
    np.testing.assert_array_equal(many[:1], few)
    assert (many[0] != many[1]).any()
    assert first.stat().st_mtime_ns == before
    straight, _ = make(prepared(tiny_study(**CLIP, copies=[3]), fresh, tmp_path), fresh, encoder)
    np.testing.assert_array_equal(many, straight)


class Killed(Exception):
    """What a test kills a stage with."""


def test_a_killed_stage_goes_on_with_the_next_image(
    tiny_study: Callable[..., Study], tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path / "store"))
    stage = prepared(tiny_study(**CLIP, copies=[3]), store, tmp_path)
    put = Store.put

    def dying(self: Store, key: str, files: Any, info: Any) -> Any:
        if key.endswith("image-00002"):
            raise Killed
        return put(self, key, files, info)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "put", dying)
        with pytest.raises(Killed):
            make(stage, store, encoder)
    assert store.parts(stage.images) == ["image-00000", "image-00001"]
    assert not store.has(stage.key)
    images, _ = make(stage, store, encoder)
    assert len(images) == 3
    assert make_vqgan_clip(stage, store, encoder, starter(stage, store), lambda steps, seconds: None) is None


def test_the_network_is_that_of_the_last_declared_l(
    tiny_study: Callable[..., Study], tmp_path: Path, encoder: Encoder
) -> None:
    """From a checkpoint at exactly that L where the training left one; replayed, and the same, where it did not."""
    store, fresh = Store(str(tmp_path / "store")), Store(str(tmp_path / "fresh"))
    study = tiny_study(**CLIP, iterations=[2, 4], copies=[1])
    stage = prepared(study, store, tmp_path)
    ImageSets(stage.training, store, encoder, starter(stage, store), lambda steps, seconds: None).make()
    from_checkpoint, steps = make(stage, store, encoder)
    assert steps == 0
    replayed, steps = make(prepared(study, fresh, tmp_path), fresh, encoder)
    assert steps == 3
    np.testing.assert_array_equal(from_checkpoint, replayed)
    info = store.get(stage.key).info
    assert info["iteration"] == 4
    assert -1 <= info["similarity"] <= 1


def test_start_weights_are_taken_as_they_are(
    tiny_study: Callable[..., Study], tmp_path: Path, encoder: Encoder
) -> None:
    """With a published network VQGAN-CLIP means that one, untouched: nothing is trained, whatever L is."""
    network = VQGANConfig.model_validate(TINY["generator"]["vqgan"])
    torch.manual_seed(5)
    published = VQGAN(network, 32)
    save_vqgan(tmp_path / "published.safetensors", published, network, 32)
    generator = {**TINY["generator"], "init": f"taming:{tmp_path / 'published.safetensors'}"}
    study = tiny_study(**CLIP, generator=generator)
    plan = plan_of(study, tmp_path)
    assert not plan.generators
    assert all(planned.generator is None for planned in plan.cells.values())
    store = Store(str(tmp_path / "store"))
    stage = prepared(study, store, tmp_path)
    assert stage.updates == 0
    assert torch.equal(starter(stage, store)().vqgan.decoder.conv_out.weight, published.decoder.conv_out.weight)
    images, replayed = make(stage, store, encoder)
    assert (len(images), replayed) == (2, 0)
