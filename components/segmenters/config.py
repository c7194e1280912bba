"""The configuration of a segmenter."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from goodshot.components.fitting.config import FittingConfig

WINDOW_SIDE = 256
"""Side, in pixels, of the map that `SegmenterConfig.window` refers to."""


class SegmenterConfig(FittingConfig):
    """A U-Net and its training. Defaults are the small one for two CPU cores; `published` gives the papers' size."""

    resolution: int = Field(default=96, ge=16, le=1024, description="side of the network's input and maps, in pixels")
    steps: PositiveInt = 500
    learning_rate: PositiveFloat = 3e-3
    channels: PositiveInt = Field(default=8, description="of the first level; each further level has twice as many")
    levels: PositiveInt = Field(default=4, description="how often the resolution is halved")
    good_share: float = Field(
        default=0.5, ge=0, lt=1, description="share of a batch that is good images with empty masks; 0: none"
    )
    focal: float = Field(default=1.0, ge=0, description="weight of the focal loss")
    gamma: float = Field(default=2.0, ge=0, description="its exponent; 0: binary cross entropy")
    dice: float = Field(default=1.0, ge=0, description="weight of the Dice loss over all pixels of a batch")
    window: PositiveInt = Field(
        default=21,
        description="side, in pixels of a map of 256 × 256, of the average pool whose maximum is the image score",
    )

    @property
    def window_pixels(self) -> int:
        """The window's side in pixels of this segmenter's maps, an odd number, so that it has a centre."""
        return 2 * int(self.window * self.resolution / WINDOW_SIDE / 2) + 1

    @property
    def goods_in_batch(self) -> int:
        """Number of good images in a step."""
        return min(round(self.batch * self.good_share), self.batch - 1)

    @model_validator(mode="after")
    def _has_a_loss(self) -> Self:
        if not self.focal and not self.dice:
            raise ValueError("focal and dice must not both be 0")
        return self

    @model_validator(mode="after")
    def _resolution_can_be_halved(self) -> Self:
        if self.resolution % 2**self.levels:
            raise ValueError(f"resolution = {self.resolution} must be a multiple of 2^levels = {2**self.levels}")
        return self

    @model_validator(mode="after")
    def _window_fits(self) -> Self:
        if self.window_pixels > self.resolution:
            raise ValueError(f"window = {self.window} must be at most {WINDOW_SIDE}")
        return self


def published(**fields: Any) -> SegmenterConfig:
    """The size and training of AnomalyDiffusion's evaluation, which the paper follows: focal loss alone, 256 px.

    200 epochs of 500 draws in batches of 8 are 12,500 steps. ``fields`` replace fields.
    """
    defaults: dict[str, Any] = {
        "resolution": 256,
        "channels": 64,
        "steps": 12_500,
        "learning_rate": 1e-4,
        "validate_every": 625,
        "dice": 0.0,
    }
    return SegmenterConfig.model_validate({**defaults, **fields})
