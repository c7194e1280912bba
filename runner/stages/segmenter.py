"""The training of a segmenter on defective images, which all cells that need this segmenter share."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from goodshot.components.segmenters.config import SegmenterConfig
from goodshot.runner.stages.base import Context, SharedValue, Stage, Support, Takes, Work
from goodshot.runner.stages.continued import STATE, discard_checkpoints, trained_to
from goodshot.runner.stages.defect_set import Defective
from goodshot.runner.stages.defects import GoodImages, SeenDefects
from goodshot.runner.store.fingerprint import fingerprint

if TYPE_CHECKING:
    from goodshot.components.segmenters.trained import TrainedSegmenter


@dataclass(frozen=True, kw_only=True)
class SegmenterStage(Stage):
    """Train a U-Net, choose a checkpoint on the validation images, and commit its weights.

    defective: the defective training images. validation: real defective images of the training third; may be empty.
    trained_for: the category, seed and arm, for display.
    """

    kind = "segmenter"
    title = "segmenter"
    version = 1
    takes: ClassVar[Takes] = "detector"

    support: Support
    defective: Defective
    validation: SeenDefects
    config: SegmenterConfig
    seed: int
    trained_for: str = field(compare=False)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The shard and the stages of the made images."""
        return (self.support.shard, *self.defective.needed)

    @property
    def goods(self) -> GoodImages:
        """The support's good images at the side of the made ones, so that a network sees both resized alike."""
        return GoodImages(self.support, self.validation.side)

    @property
    def reads(self) -> tuple[SharedValue, ...]:
        """The good images, real defects if they are learned from, and the validation images, if any."""
        return (self.goods, *self.defective.reads, *([self.validation] if len(self.validation) else []))

    def label(self, wanted: Sequence[Stage]) -> str:
        """The segmenter's category, seed and arm."""
        return f"{self.kind} {self.trained_for}"

    def work(self, wanted: Sequence[Stage], device: str) -> Sequence[Work]:
        """Training steps."""
        return (Work(self._work_kind(device), self.config.steps),)

    def disk(self, wanted: Sequence[Stage]) -> int:
        """The bytes of the weights, of which a U-Net of c channels and l levels has about 33 c² 4^l."""
        return int(4 * 33 * self.config.channels**2 * 4**self.config.levels)

    def memory_kind(self) -> str:
        """The kind of work of a step."""
        return self._work_kind("cuda")

    def run(self, context: Context, wanted: Sequence[Stage]) -> None:
        """Train to the last step, and commit the chosen weights."""
        from goodshot.components.segmenters.training import Segmenter

        began = time.perf_counter()
        goods, made = context.read(self.goods), self.defective.read(context)
        real = context.read(self.validation) if len(self.validation) else None
        segmenter = Segmenter(made.images, goods, self.config, self.seed, real, context.device)
        losses = trained_to(
            segmenter.fitting, self.config.steps, self.key, context, self._work_kind(context.device), reports=False
        )
        info = {
            "losses": losses,
            "merits": {str(step): merit for step, merit in segmenter.fitting.merits.items()},
            "made": made.columns,
            "seconds": time.perf_counter() - began,
        }
        context.store.put(self.key, {STATE: segmenter.trained().state()}, info)
        discard_checkpoints(self.key, context.store)

    def trained(self, context: Context) -> tuple[TrainedSegmenter, Mapping[str, Any]]:
        """The trained segmenter, and what is recorded of its training."""
        from goodshot.components.segmenters.trained import segmenter_from

        artifact = context.store.get(self.key)
        return segmenter_from(artifact.read(STATE), self.config, context.device), artifact.info

    def _work_kind(self, device: str) -> str:
        config = self.config
        return f"segment|{config.channels}|{config.levels}|{config.resolution}|{config.batch}|{device}"


def segmenter_key(
    support: Support, defective: Defective, validation: SeenDefects, config: SegmenterConfig, seed: int
) -> str:
    """Return the key, made of the options, the seed, the training images and the validation images."""
    inputs = {
        "goods": list(support.content),
        "defective": defective.identity(),
        "validation": validation.identity(),
    }
    options = {"segmenter": config.stated(), "seed": seed}
    return f"segmenter/{fingerprint(SegmenterStage.kind, SegmenterStage.version, options, inputs)}"
