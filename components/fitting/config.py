"""The options of fitting a network to labelled images."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from goodshot.components.config import Config

Share = Annotated[float, Field(ge=0, lt=1)]


class FittingConfig(Config):
    """How a network is fitted. Everything here is part of the fitted network's identity."""

    resolution: int = Field(default=128, ge=16, le=1024, description="side of the network's input, in pixels")
    steps: PositiveInt = 600
    batch: PositiveInt = Field(default=8, description="images in a step")
    learning_rate: PositiveFloat = 1e-3
    betas: tuple[Share, Share] = (0.9, 0.999)
    decay: float = Field(default=0.2, gt=0, le=1, description="factor on the learning rate at each of decay_at")
    decay_at: tuple[Share, ...] = Field(default=(0.8, 0.9), description="shares of steps after which it decays")
    validate_every: NonNegativeInt = Field(
        default=100, description="steps between checkpoints that validation images choose from; 0: the last one only"
    )
    horizontal_flips: bool = False
    vertical_flips: bool = False
    tone: float = Field(default=0.0, ge=0, le=1, description="gain and offset are drawn within ± this share")
    precision: Literal["fp32", "bf16"] = Field(default="fp32", description="bf16: mixed, losses in fp32")

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of the step after ``step`` updates."""
        return self.learning_rate * self.decay ** sum(step >= share * self.steps for share in self.decay_at)

    def is_candidate(self, step: int) -> bool:
        """Whether the weights after ``step`` updates are a checkpoint that validation images choose from."""
        return step == self.steps or (self.validate_every > 0 and step % self.validate_every == 0)

    def stated(self) -> dict[str, Any]:
        """The options as plain values, for a fingerprint."""
        return self.model_dump(mode="json")
