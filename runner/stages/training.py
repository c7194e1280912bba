"""The generator stage: one training of a variance-aware VQGAN (§4.1.2, §4.2).

The training is the producer of its image sets. ``copies`` and ``iterations`` are prefixes of one training, so they are
no part of its identity, and one training serves every ``copies``, every ``iterations`` and every prompt.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

from components.encoders import Precision
from components.generator.config import GeneratorConfig
from runner.stages.base import Context, SharedValue, Stage, Support, Work
from runner.stages.generator import GeneratorSpec
from runner.stages.image_set import ImageSetStage
from runner.stages.image_sets import ImageSets
from runner.stages.values import Originals
from runner.stages.variation import read_variation

EMBEDDING_BYTES = 4 * 512
"""Of one embedding in a trace, about."""


@dataclass(frozen=True, kw_only=True)
class TrainingStage(Stage):
    """Train one variance-aware VQGAN and commit the image sets that are wanted of it.

    ``key`` identifies the training; checkpoints and traces lie below it.
    """

    kind = "generator"
    title = "generator"
    version = 2
    takes = "generator"
    is_artifact = False
    trains = True

    category: str
    support: Support
    config: GeneratorConfig
    vq_weight: float
    seed: int
    augmentation: str
    encoder: str
    scoring: str
    """Digest of what a trace's embeddings depend on: the encoder's identity and which iterations are scored."""
    score_every: int
    start_sha256: str | None = None
    """Of the weights that the training starts from; every node has to have them."""
    variation: str | None = None
    """Key of the variance head, for ``variance: predicted``."""
    precision: Precision = "fp32"
    """What the encoder computes in."""
    samples: int = 0
    """Samples of each scored iteration at least, because a search may ask for more copies later."""

    @property
    def id(self) -> str:
        """One training scored in one way: two studies may score it with different encoders."""
        return f"{self.key}?scoring={self.scoring}"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The support's shard, and the variance head where Σ is predicted."""
        return (self.support.shard, *([self.variation] if self.variation else []))

    @property
    def reads(self) -> tuple[SharedValue, ...]:
        """The support's originals."""
        return (Originals(self.support),)

    @property
    def home(self) -> str:
        """The category: one process keeps its originals, its encoder and its generators."""
        return self.support.shard

    def steps(self, wanted: Sequence[Stage]) -> int:
        """Updates: the image set of L is sampled after L − 1 of them."""
        return max((s.iterations for s in wanted if isinstance(s, ImageSetStage)), default=1) - 1

    def work(self, wanted: Sequence[Stage], device: str) -> Sequence[Work]:
        """Updates, and samples that are decoded, embedded and compared."""
        return Work(self.step_kind(device), self.steps(wanted)), Work(self.image_kind(device), self._scored(wanted))

    def disk(self, wanted: Sequence[Stage]) -> int:
        """A checkpoint at each L (weights and Adam's two moments in float32), and the traces."""
        lengths = {s.iterations for s in wanted if isinstance(s, ImageSetStage)}
        return 3 * 4 * _parameters(self.config) * len(lengths) + self._scored(wanted) * EMBEDDING_BYTES

    def memory_kind(self) -> str:
        """An update decides how much of a GPU is taken."""
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
        """What its generator is built of."""
        head = read_variation(self.variation, context.store) if self.variation else None
        originals = context.read(Originals(self.support))
        return GeneratorSpec(
            originals, self.config, self.vq_weight, self.seed, self.augmentation, head, self.start_sha256
        )

    def run(self, context: Context, wanted: Sequence[Stage]) -> None:
        """Commit the image sets that the store does not hold yet, each announced as soon as it is there."""
        began = time.perf_counter()
        making = ImageSets(self, [s for s in wanted if isinstance(s, ImageSetStage)], context)
        making.make()
        other_seconds = time.perf_counter() - began - making.step_seconds
        context.warm.keep(self.key, making.generator)
        if context.train_together is None:
            # The seconds of several processes are no price of a step of one.
            context.measured(self.step_kind(context.device), making.step_seconds, making.steps)
        context.measured(self.image_kind(context.device), other_seconds, making.scored_images)

    def _scored(self, wanted: Sequence[Stage]) -> int:
        sets = [s for s in wanted if isinstance(s, ImageSetStage)]
        if not sets:
            return 0
        copies = max(self.samples, *(s.copies for s in sets))
        return len({s.detail for s in sets}) * copies * (max(s.iterations for s in sets) // self.score_every)


def _network(config: GeneratorConfig) -> str:
    return json.dumps(config.vqgan.model_dump(mode="json"), sort_keys=True)


def _parameters(config: GeneratorConfig) -> int:
    import torch

    from components.generator.vqgan import VQGAN

    with torch.device("meta"):
        return sum(parameter.numel() for parameter in VQGAN(config.vqgan, config.resolution).parameters())
