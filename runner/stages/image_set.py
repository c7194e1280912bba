"""The image set stage: samples of one scored iteration of a training (§4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from goodshot.components.generator.config import Detail
from goodshot.components.integrator import Select
from goodshot.runner.stages.base import Context, Stage


@dataclass(frozen=True, kw_only=True)
class ImageSetStage(Stage):
    """One image set: ``copies`` samples of an iteration chosen among the scored ones up to ``iterations`` (L).

    The training makes it, so :meth:`run` is never called.
    """

    kind = "image_set"
    title = "image set"
    version = 2
    takes = "generator"

    training: str
    """Id of the training that makes the set."""
    prompt: str
    prompt_kind: str
    select: Select
    detail: Detail
    copies: int
    iterations: int
    side: int
    """Side of the images in pixels."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The prompt that the iterations are scored against."""
        return (self.prompt,)

    @property
    def producer(self) -> str:
        """The training."""
        return self.training

    def disk(self, wanted: Sequence[Stage]) -> int:
        """The bytes of its pixels."""
        return self.copies * self.side**2 * 3

    def run(self, context: Context, wanted: Sequence[Stage]) -> None:
        """Never called: the training makes it."""
        raise NotImplementedError(f"{self.id} is made by {self.training}")
