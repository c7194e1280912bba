"""The arm ``vqgan_clip`` as a stage: planned beside the generated arm, prefix in copies, resumed image by image."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from goodshot.components.generator.config import VQGANConfig
from goodshot.components.generator.start import save_vqgan
from goodshot.components.generator.vqgan import VQGAN
from goodshot.components.prompts import PromptKind
from goodshot.runner.executor.local import LocalExecutor
from goodshot.runner.plan.plan import Plan
from goodshot.runner.results.results import Results
from goodshot.runner.run.execute import plan_studies
from goodshot.runner.run.options import Options
from goodshot.runner.stages.base import Context, Warm, load_value
from goodshot.runner.stages.image_set import ImageSetStage
from goodshot.runner.stages.prompt import PromptStage
from goodshot.runner.stages.training import TrainingStage
from goodshot.runner.stages.vqgan_clip import VQGANClipStage
from goodshot.runner.store.artifacts import Store
from goodshot.runner.study.settings import validate
from goodshot.runner.study.study import Study
from tests.conftest import TINY

CLIP: dict[str, Any] = {"arms": ["vqgan_clip"], "vqgan_clip": {"iterations": 2, "cutouts": 2}}


def plan_of(study: Study, tmp_path: Path) -> Plan:
    return plan_studies([study], Options(str(tmp_path / "out")))


@dataclass
class Making:
    """A study's only VQGAN-CLIP stage, with a store for its images."""

    plan: Plan
    stage: VQGANClipStage
    store: Store
    replayed: int = 0
    """Updates of the network that were made to have it."""
    warm: Warm[Any] = field(default_factory=Warm)
    """What the process keeps from one stage to the next."""

    def make(self) -> np.ndarray:
        """The stage's images, uint8 (M, R, R, 3)."""
        self.stage.run(self.context(), [self.stage])
        return self.store.get(self.stage.key).arrays("images.safetensors")["images"]

    def train(self) -> None:
        """Make the image set by which the network gets its updates, in another process than the stage's."""
        LocalExecutor(self.plan, self.store).make(str(self.stage.trained))

    def context(self) -> Context:
        def stepped(made: int, steps: int, seconds: float) -> None:
            self.replayed += steps

        return Context(self.store, partial(load_value, store=self.store), stepped=stepped, warm=self.warm)


@pytest.fixture(scope="module")
def ranked(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the shard and the ranked prompts, which every stage here stands on."""
    out = tmp_path_factory.mktemp("ranked")
    plan = plan_of(validate({**TINY, "dataset": {"name": "demo", "root": str(photographs)}}, "tiny"), out)
    (prompt,) = plan.of(PromptStage)
    LocalExecutor(plan, Store(str(out / "store"))).make(prompt.id)
    return out / "store"


@pytest.fixture
def making(tiny_study: Callable[..., Study], ranked: Path, tmp_path: Path) -> Callable[..., Making]:
    """The stage of a tiny study with these fields, in the store of this name."""

    def make(store_name: str = "store", **fields: Any) -> Making:
        plan = plan_of(tiny_study(**{**CLIP, **fields}), tmp_path)
        if not (tmp_path / store_name).exists():
            shutil.copytree(ranked, tmp_path / store_name)
        (stage,) = plan.of(VQGANClipStage)
        return Making(plan, stage, Store(str(tmp_path / store_name)))

    return make


def test_it_shares_the_generated_arms_training(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    alone = plan_of(tiny_study(**{**CLIP, "arms": ["generated"]}), tmp_path)
    both = plan_of(tiny_study(**{**CLIP, "arms": ["generated", "vqgan_clip"]}), tmp_path)
    assert both.of(TrainingStage) == alone.of(TrainingStage)
    assert both.of(ImageSetStage) == alone.of(ImageSetStage)
    (stage,) = both.of(VQGANClipStage)
    assert both.stages[stage.training.id] == stage.training
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
    stages = plan.of(VQGANClipStage)
    assert len(plan.cells) == len(stages) == 2 * 2 * 2
    assert len({stage.images for stage in stages}) == 2 * 2
    for cell in plan.cells.values():
        columns = cell.columns
        assert (columns["arm"], columns["iterations"]) == ("vqgan_clip", 4)
        assert not {"select", "detail", "post_augment"} & columns.keys()
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
    keys, others = ({stage.key for stage in plan.of(VQGANClipStage)} for plan in (base, other))
    assert keys
    assert not keys & others
    assert not {*base.cells} & {*other.cells}


def test_a_caption_is_a_prompt_of_the_studys_own(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    """Longer than an encoder reads, and part of the ranking's identity; test_golden pins the one without a caption."""
    caption = "This image displays a single coin against a dark background. " * 40
    study = tiny_study(**CLIP, copies=[1], prompt_kind=["caption", "naive"], prompt={"caption": caption})
    plan, store = plan_of(study, tmp_path), Store(str(tmp_path / "store"))
    results = Results(str(tmp_path / "out"))
    LocalExecutor(plan, store, results).run(list(plan.cells))
    by_kind = {row["prompt_kind"]: row for row in results.rows().values()}
    assert by_kind["caption"]["prompt"] == study.prompt.caption == caption.strip()
    assert by_kind["caption"]["similarity"] != by_kind["naive"]["similarity"]
    (prompt,) = plan.of(PromptStage)
    assert store.get(prompt.key).info["prompts"]["caption"] == caption.strip()
    assert set(store.get(prompt.key).arrays("embeddings.safetensors")) == set(get_args(PromptKind))
    other = plan_of(tiny_study(**CLIP, copies=[1], prompt={"caption": "another text"}), tmp_path)
    assert other.of(PromptStage)[0].key != prompt.key != plan_of(tiny_study(**CLIP), tmp_path).of(PromptStage)[0].key


def test_copies_are_a_prefix_and_only_new_ones_are_made(making: Callable[..., Making], tmp_path: Path) -> None:
    few = making(copies=[1]).make()
    more = making(copies=[3])
    first = tmp_path / "store" / more.stage.images / "image-00000" / "commit.json"
    before = first.stat().st_mtime_ns
    many = more.make()
    np.testing.assert_array_equal(many[:1], few)
    assert (many[0] != many[1]).any()
    assert first.stat().st_mtime_ns == before
    np.testing.assert_array_equal(many, making("fresh", copies=[3]).make())


class Killed(Exception):
    """What a test kills a stage with."""


def test_a_killed_stage_goes_on_with_the_next_image(
    making: Callable[..., Making], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = making(copies=[3])
    put = Store.put

    def dying(self: Store, key: str, files: Any, info: Any) -> Any:
        if key.endswith("image-00002"):
            raise Killed
        return put(self, key, files, info)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "put", dying)
        with pytest.raises(Killed):
            killed.make()
    assert killed.store.parts(killed.stage.images) == ["image-00000", "image-00001"]
    assert not killed.store.has(killed.stage.key)
    assert len(killed.make()) == 3
    # What is made is not made again.
    assert killed.stage.is_made(killed.store)
    executor = LocalExecutor(killed.plan, killed.store)
    executor.make(killed.stage.id)
    assert not executor.progress.executed


def test_the_network_is_that_of_the_last_declared_l(making: Callable[..., Making]) -> None:
    """From a checkpoint at exactly that L where the training left one; replayed, and the same, where it did not."""
    trained = making(iterations=[2, 4], copies=[1])
    trained.train()
    from_checkpoint = trained.make()
    assert trained.replayed == 0
    fresh = making("fresh", iterations=[2, 4], copies=[1])
    replayed = fresh.make()
    assert fresh.replayed == 3
    np.testing.assert_array_equal(from_checkpoint, replayed)
    info = trained.store.get(trained.stage.key).info
    assert info["iteration"] == 4
    assert -1 <= info["similarity"] <= 1


def test_start_weights_are_taken_as_they_are(making: Callable[..., Making], tmp_path: Path) -> None:
    """With a published network VQGAN-CLIP means that one, untouched: nothing is trained, whatever L is."""
    network = VQGANConfig.model_validate(TINY["generator"]["vqgan"])
    torch.manual_seed(5)
    published = VQGAN(network, 32)
    save_vqgan(tmp_path / "published.safetensors", published, network, 32)
    made = making(generator={**TINY["generator"], "init": f"taming:{tmp_path / 'published.safetensors'}"})
    (cell,) = made.plan.cells.values()
    assert not made.plan.of(ImageSetStage)
    assert not any(stage.steps([stage]) for stage in made.plan.closure(cell.inputs).values())
    assert (made.stage.updates, made.stage.trained) == (0, None)
    generator = made.stage.training.spec(made.context()).build("cpu")
    assert torch.equal(generator.vqgan.decoder.conv_out.weight, published.decoder.conv_out.weight)
    assert (len(made.make()), made.replayed) == (2, 0)
