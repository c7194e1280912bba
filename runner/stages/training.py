"""The generator stage: one training of a variance-aware VQGAN (§4.1.2, §4.2).

The training is the producer of its image sets. A set with fewer ``copies`` uses the first samples, and one
with fewer ``iterations`` the first updates. Neither is part of the training's identity, so that one training serves
every number of copies, every number of iterations and every prompt.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from goodshot.components.encoders import Precision
from goodshot.components.generator.config import GeneratorConfig
from goodshot.runner.declaration.fields import Declaration
from goodshot.runner.stages.base import Context, SharedValue, Stage, Support, Work
from goodshot.runner.stages.generator import GeneratorSpec
from goodshot.runner.stages.image_set import ImageSetStage
from goodshot.runner.stages.image_sets import ImageSets
from goodshot.runner.stages.need import Need, start_needs
from goodshot.runner.stages.values import Originals
from goodshot.runner.stages.variation import read_variation

EMBEDDING_BYTES = 4 * 512
"""Approximate bytes of one embedding in a trace."""


def updates_to(iterations: int) -> int:
    """The number of updates that an image set of L iterations needs: it is sampled at L after L − 1 updates."""
    return iterations - 1


@dataclass(frozen=True, kw_only=True)
class TrainingStage(Stage):
    """Train one variance-aware VQGAN and commit the requested image sets.

    ``key`` identifies the training; its checkpoints and traces lie below that key.
    """

    kind = "generator"
    title = "generator"
    version = 2
    takes = "generator"
    is_artifact = False
    is_generator = True

    category: str
    support: Support
    config: GeneratorConfig
    vq_weight: float
    seed: int
    augmentation: str
    encoder: str
    scoring: str
    """Digest of what a trace depends on: the encoder's identity and ``score_every``."""
    score_every: int
    start_sha256: str | None = None
    """SHA-256 of the start weights, which every node must have; None if the training starts from scratch."""
    variation: str | None = None
    """Key of the variance head with ``variance: predicted``; None otherwise."""
    precision: Precision = "fp32"
    """Numeric precision of the encoder."""
    samples: int = 0
    """Minimum number of samples of each scored iteration, because a search may request more copies later."""

    @classmethod
    def needs(cls, study: Declaration) -> Iterator[Need]:
        """The start weights, and the network of the perceptual loss."""
        yield from start_needs(study.generator)
        if study.generator.perceptual == "lite0":
            yield Need("efficientnet_lite0", "generator.perceptual")

    @property
    def id(self) -> str:
        """The key and the scoring, because two studies may score one training with different encoders."""
        return f"{self.key}?scoring={self.scoring}"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The support's shard, and with a predicted Σ the variance head."""
        return (self.support.shard, *([self.variation] if self.variation else []))

    @property
    def reads(self) -> tuple[SharedValue, ...]:
        """The support's originals."""
        return (Originals(self.support),)

    @property
    def home(self) -> str:
        """The category's shard: one process keeps the originals, the encoder and the generators of a category."""
        return self.support.shard

    def steps(self, wanted: Sequence[Stage]) -> int:
        """The number of updates for the wanted image sets."""
        return updates_to(max((s.iterations for s in wanted if isinstance(s, ImageSetStage)), default=1))

    def label(self, wanted: Sequence[Stage]) -> str:
        """The training's category, λ and L."""
        return f"{self.kind} {self.category} λ={self.vq_weight:g} L={self.steps(wanted) + 1}"

    def work(self, wanted: Sequence[Stage], device: str) -> Sequence[Work]:
        """Updates, and samples to decode, embed and compare."""
        return Work(self.step_kind(device), self.steps(wanted)), Work(self.image_kind(device), self._n_scored(wanted))

    def disk(self, wanted: Sequence[Stage]) -> int:
        """The bytes of a checkpoint at each L (weights and Adam's two moments in float32) and of the traces."""
        lengths = {s.iterations for s in wanted if isinstance(s, ImageSetStage)}
        return 3 * 4 * _parameters(self.config) * len(lengths) + self._n_scored(wanted) * EMBEDDING_BYTES

    def memory_kind(self) -> str:
        """The kind of work of an update, which needs the most GPU memory."""
        return self.step_kind("cuda")

    def step_kind(self, device: str) -> str:
        """The kind of work of one update."""
        config = self.config
        views = f"{config.augmentations}+{config.train_samples}"
        return f"step|{_network(config)}|{config.resolution}|{views}|{config.perceptual}|{config.precision}|{device}"

    def image_kind(self, device: str) -> str:
        """The kind of work of one sample of a scored iteration."""
        return f"image|{_network(self.config)}|{self.config.resolution}|{self.encoder}|{self.precision}|{device}"

    def spec(self, context: Context) -> GeneratorSpec:
        """The specification of its generator; reads the originals and the variance head."""
        head = read_variation(self.variation, context.store) if self.variation else None
        originals = context.read(Originals(self.support))
        return GeneratorSpec(
            originals, self.config, self.vq_weight, self.seed, self.augmentation, head, self.start_sha256
        )

    def run(self, context: Context, wanted: Sequence[Stage]) -> None:
        """Commit the image sets that the store does not hold yet, and announce each when it is committed."""
        began = time.perf_counter()
        image_sets = ImageSets(self, [s for s in wanted if isinstance(s, ImageSetStage)], context)
        image_sets.make()
        sampling_seconds = time.perf_counter() - began - image_sets.step_seconds
        context.warm.keep(self.key, image_sets.generator)
        if context.train_together is None:
            # With several processes, the seconds say nothing about the cost of a step in one process.
            context.measured(self.step_kind(context.device), image_sets.step_seconds, image_sets.steps)
        context.measured(self.image_kind(context.device), sampling_seconds, image_sets.scored_images)

    def _n_scored(self, wanted: Sequence[Stage]) -> int:
        sets = [s for s in wanted if isinstance(s, ImageSetStage)]
        if not sets:
            return 0
        copies = max(self.samples, *(s.copies for s in sets))
        return len({s.detail for s in sets}) * copies * (max(s.iterations for s in sets) // self.score_every)


def _network(config: GeneratorConfig) -> str:
    return json.dumps(config.vqgan.model_dump(mode="json"), sort_keys=True)


def _parameters(config: GeneratorConfig) -> int:
    import torch

    from goodshot.components.generator.vqgan import VQGAN

    with torch.device("meta"):
        return sum(parameter.numel() for parameter in VQGAN(config.vqgan, config.resolution).parameters())
