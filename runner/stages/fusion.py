"""The stages of AnomalyXFusion (METHOD B): mask autoencoder, small diffusion base, training, and its defect sets.

One mask autoencoder and one base serve all categories of a study. A fusion training serves every number of images and
everything that is measured with them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from goodshot.components.defects.placing import PlacingConfig
from goodshot.components.encoders import Precision
from goodshot.components.errors import MissingWeights
from goodshot.components.fusion.config import PATH, SMALL, FusionConfig, SamplingConfig
from goodshot.runner.declaration.fields import Declaration
from goodshot.runner.stages.base import Context, SharedValue, Stage, Support, Work
from goodshot.runner.stages.continued import STATE, discard_checkpoints, trained_to
from goodshot.runner.stages.defect_set import DefectSetStage
from goodshot.runner.stages.defects import GoodImages, SeenDefects
from goodshot.runner.stages.need import Need, encoder_needs
from goodshot.runner.stages.prompt import cached_encoder
from goodshot.runner.store.artifacts import Store, arrays_bytes

if TYPE_CHECKING:
    from goodshot.components.defects import DefectImages, Site
    from goodshot.components.fusion.fusion import Fusion

FEATURES = "features.safetensors"
SEED = 0
"""Seed of the mask autoencoder and of the base, which do not depend on the seed of a cell."""


@dataclass(frozen=True, kw_only=True)
class MaskEncoderStage(Stage):
    """Train one mask autoencoder on the masks of the training thirds of all categories (eq. 2)."""

    kind = "mask_encoder"
    title = "mask autoencoder"
    version = 1

    defects: tuple[SeenDefects, ...]
    config: FusionConfig

    @property
    def inputs(self) -> tuple[str, ...]:
        """The shards of the categories."""
        return tuple(dict.fromkeys(each.shard for each in self.defects))

    @property
    def reads(self) -> tuple[SharedValue, ...]:
        """The categories' real defects."""
        return self.defects

    def work(self, wanted: Sequence[Stage], device: str) -> Sequence[Work]:
        """Training steps."""
        return (Work(self._work_kind(), self.config.masks.steps),)

    def disk(self, wanted: Sequence[Stage]) -> int:
        """The bytes of its weights, and of a state to continue from."""
        return 8 << 20

    def run(self, context: Context, wanted: Sequence[Stage]) -> None:
        """Train on the masks as the fusion will show them, in their windows, and commit the weights."""
        from goodshot.components.fusion.mask_encoder import mask_autoencoder_bytes, mask_training
        from goodshot.components.fusion.window import window_about

        began = time.perf_counter()
        whole = [mask for each in self.defects for mask in context.read(each).masks]
        masks = [window_about(mask, self.config.window).of(mask) for mask in whole]
        training = mask_training(masks, self.config.masks, SEED)
        losses = trained_to(training, self.config.masks.steps, self.key, context, self._work_kind(), reports=False)
        autoencoder = training.keep_average().cpu()
        info = {"seconds": time.perf_counter() - began, "losses": losses}
        context.store.put(self.key, {STATE: mask_autoencoder_bytes(autoencoder)}, info)
        discard_checkpoints(self.key, context.store)

    def _work_kind(self) -> str:
        return f"mask_step|{self.config.masks.batch}"


@dataclass(frozen=True, kw_only=True)
class DiffusionBaseStage(Stage):
    """Train one small diffusion base on the good images of all categories.

    side: the side in pixels of these images, the same as of the images on which defects are made.
    """

    kind = "diffusion_base"
    title = "diffusion base"
    version = 1
    takes = "generator"

    supports: tuple[Support, ...]
    config: FusionConfig
    side: int

    @property
    def home(self) -> str:
        """A home for this stage alone, whose process reports the steps."""
        return self.key

    @property
    def inputs(self) -> tuple[str, ...]:
        """The shards of the categories."""
        return tuple(dict.fromkeys(support.shard for support in self.supports))

    @property
    def reads(self) -> tuple[SharedValue, ...]:
        """The categories' good images."""
        return tuple(GoodImages(support, self.side) for support in self.supports)

    def steps(self, wanted: Sequence[Stage]) -> int:
        """Training steps."""
        return self.config.small.steps if wanted else 0

    def work(self, wanted: Sequence[Stage], device: str) -> Sequence[Work]:
        """Training steps."""
        return (Work(self._work_kind(device), self.config.small.steps),)

    def disk(self, wanted: Sequence[Stage]) -> int:
        """The bytes of its weights, and of a state to continue from."""
        return 60 << 20

    def memory_kind(self) -> str:
        """The kind of work of a step."""
        return self._work_kind("cuda")

    def run(self, context: Context, wanted: Sequence[Stage]) -> None:
        """Train, and commit the averaged weights."""
        from goodshot.components.fusion.base import base_bytes
        from goodshot.components.fusion.training import base_training

        began, small = time.perf_counter(), self.config.small
        work = self._work_kind(context.device)
        goods = np.concatenate([context.read(value) for value in self.reads])
        training = base_training(goods, self.config.resolution, small, SEED, context.device)
        losses = trained_to(training, small.steps, self.key, context, work)
        base = training.keep_average()
        info = {"seconds": time.perf_counter() - began, "losses": losses}
        context.store.put(self.key, {STATE: base_bytes(base, small)}, info)
        discard_checkpoints(self.key, context.store)

    def _work_kind(self, device: str) -> str:
        small = self.config.small
        return f"base_step|{small.space}|{small.channels}|{self.config.resolution}|{small.batch}|{device}"


@dataclass(frozen=True, kw_only=True)
class FusionStage(Stage):
    """Train the fusion of one category: embeddings, encoders, and with ``trains: all`` the base too (eq. 17).

    mask_encoder: key of the mask autoencoder. base: key of the small base; None for a published one.
    """

    kind = "fusion"
    title = "fusion"
    version = 1
    takes = "generator"

    category: str
    shard: str
    defects: SeenDefects
    config: FusionConfig
    seed: int
    mask_encoder: str
    base: str | None
    encoder: str
    precision: Precision

    @classmethod
    def needs(cls, study: Declaration) -> Iterator[Need]:
        """The text encoder, and a published base, by its name in the registry or by its path."""
        yield from encoder_needs(study.encoder)
        base = study.synthesis.fusion.base
        if base.startswith(PATH):
            yield Need(base, "synthesis.fusion.base", check_file=_check_base)
        elif base != SMALL:
            yield Need(base, "synthesis.fusion.base")

    @property
    def inputs(self) -> tuple[str, ...]:
        """The shard, the mask autoencoder and the base."""
        return (self.shard, self.mask_encoder, *([self.base] if self.base else []))

    @property
    def reads(self) -> tuple[SharedValue, ...]:
        """The real defects to learn."""
        return (self.defects,)

    @property
    def home(self) -> str:
        """The category's shard: one process keeps the trained fusion for its defect sets."""
        return self.shard

    def steps(self, wanted: Sequence[Stage]) -> int:
        """Training steps."""
        return self.config.steps if wanted else 0

    def label(self, wanted: Sequence[Stage]) -> str:
        """The fusion's category and the parts that are switched on."""
        return f"{self.kind} {self.category} {self.config.modules}"

    def work(self, wanted: Sequence[Stage], device: str) -> Sequence[Work]:
        """Training steps."""
        return (Work(self._work_kind(device), self.config.steps),)

    def disk(self, wanted: Sequence[Stage]) -> int:
        """The bytes of its state, with a checkpoint while it is trained."""
        return 120 << 20

    def memory_kind(self) -> str:
        """The kind of work of a step."""
        return self._work_kind("cuda")

    def run(self, context: Context, wanted: Sequence[Stage]) -> None:
        """Train to the last step, and commit the state and the features."""
        from goodshot.components.fusion.features import features_of

        began = time.perf_counter()
        encoder = cached_encoder(self.encoder, context.device, self.precision)
        features = features_of(encoder, context.read(self.defects))
        fusion = self.build(context, features)
        losses = trained_to(fusion.training, self.config.steps, self.key, context, self._work_kind(context.device))
        info: dict[str, Any] = {"losses": losses, "parameters": fusion.parameters_by_part()}
        info["seconds"] = time.perf_counter() - began
        arrays = {"text": features.text, "image": features.image}
        context.store.put(self.key, {STATE: fusion.state(), FEATURES: arrays_bytes(arrays)}, info)
        discard_checkpoints(self.key, context.store)
        context.warm.keep(self.key, fusion)

    def build(self, context: Context, features: Any) -> Fusion:
        """The fusion before its first step."""
        from goodshot.components.fusion.base import base_from
        from goodshot.components.fusion.fusion import Fusion
        from goodshot.components.fusion.mask_encoder import mask_autoencoder_from
        from goodshot.components.fusion.published import load_base

        store = context.store
        autoencoder = mask_autoencoder_from(store.get(self.mask_encoder).read(STATE), self.config.masks)
        if self.base is None:
            base = load_base(self.config.base, self.config.resolution)
        else:
            base = base_from(store.get(self.base).read(STATE))
        defects = context.read(self.defects)
        return Fusion(self.config, defects, features, self.seed, base, autoencoder, context.device)

    def trained(self, context: Context) -> Fusion:
        """The trained fusion, from this process's memory or from the store."""
        from goodshot.components.fusion.features import DefectFeatures

        warm: Fusion | None = context.warm.take(self.key)
        if warm is not None:
            return warm
        artifact = context.store.get(self.key)
        arrays = artifact.arrays(FEATURES)
        fusion = self.build(context, DefectFeatures(arrays["text"], arrays["image"]))
        fusion.load(artifact.read(STATE))
        return fusion

    def _work_kind(self, device: str) -> str:
        config = self.config
        return f"fusion_step|{config.base}|{config.trains}|{config.resolution}|{config.batch}|{device}"


@dataclass(frozen=True, kw_only=True)
class FusionSetStage(DefectSetStage):
    """Make a part of a defect set by a trained fusion (eq. 15 and 16)."""

    takes = "generator"

    training: FusionStage
    placing: PlacingConfig
    sampling: SamplingConfig

    @property
    def home(self) -> str:
        """The home of the training, whose process may still hold the fusion."""
        return self.training.home

    @property
    def inputs(self) -> tuple[str, ...]:
        """The shard and the training."""
        return (*super().inputs, self.training.id)

    @property
    def maker(self) -> str:
        """The base and the steps of the sampler."""
        return f"fusion {self.training.config.base} {self.sampling.steps}"

    def facts(self, store: Store) -> Mapping[str, Any]:
        """The number of weights of each part of the fusion (Table 6)."""
        return {"parameters": store.get(self.training.key).info["parameters"]}

    def memory_kind(self) -> str:
        """The kind of work of an image."""
        return self._work_kind("cuda")

    def make(
        self, goods: np.ndarray, products: np.ndarray, defects: DefectImages, context: Context
    ) -> tuple[DefectImages, Sequence[Site]]:
        """Place masks of real defects on the product, and generate a defect in each mask."""
        from goodshot.components.defects import DefectImages
        from goodshot.components.defects.placing import sites

        placed = tuple(sites(products, defects, self.indices, self.seed, self.placing))
        fusion = self.training.trained(context)
        images = fusion.generate(placed, goods, self.seed, self.indices, self.sampling)
        context.warm.keep(self.training.key, fusion)
        sources = [site.source for site in placed]
        types, captions = (tuple(names[i] for i in sources) for names in (defects.types, defects.captions))
        return DefectImages(images, np.stack([site.mask for site in placed]), types, captions), placed


def _check_base(name: str) -> None:
    if not Path(name.removeprefix(PATH)).expanduser().exists():
        raise MissingWeights(f"synthesis.fusion.base = {name}: no such file or folder; correct the path")
