"""The configuration of the comparator VQGAN-CLIP; read by studies, so it imports no torch."""

from pydantic import Field, PositiveFloat, PositiveInt

from goodshot.components.config import Config


class VQGANClipConfig(Config):
    """The optimisation of a latent; the defaults are those of the paper's comparator."""

    iterations: PositiveInt = 500
    cutouts: PositiveInt = Field(default=32, description="augmented views of the image that are embedded a step")
    learning_rate: PositiveFloat = 0.1
