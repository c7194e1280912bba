"""What a generator is: every option that changes the images it makes, with the paper's symbol where it has one."""

from typing import Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from components.config import Config
from components.generator.augment import POLICIES, AugmentationPolicy
from components.weights import resolve

Variance = Literal["estimated", "unit", "none"]
Detail = Literal["none", "residual"]


class VQGANConfig(Config):
    """The network. Defaults are the small f8 model of demos and tests; :data:`F16` is the published layout."""

    channels: PositiveInt = 16
    channel_multipliers: tuple[PositiveInt, ...] = (1, 2, 2, 4)
    res_blocks: PositiveInt = 1
    attention_resolutions: tuple[PositiveInt, ...] = ()
    latent_channels: PositiveInt = 32
    codebook_size: PositiveInt = 256
    norm_groups: PositiveInt = 8

    @property
    def downsampling(self) -> int:
        """f: image pixels per latent position along one side."""
        return int(2 ** (len(self.channel_multipliers) - 1))

    @model_validator(mode="after")
    def _groups_divide_channels(self) -> Self:
        if self.channels % self.norm_groups:
            raise ValueError(f"channels = {self.channels} must be a multiple of norm_groups = {self.norm_groups}")
        return self


F16 = VQGANConfig(
    channels=128,
    channel_multipliers=(1, 1, 2, 2, 4),
    res_blocks=2,
    attention_resolutions=(16,),
    latent_channels=256,
    codebook_size=1024,
    norm_groups=32,
)


class GeneratorConfig(Config):
    """How one variance-aware VQGAN is trained (§4.1.2, §4.2).

    ``iterations`` (L) and ``copies`` (M) are not here: they are prefixes of one training (see ``generator.py``).
    Neither is ``vq_weight`` (λ of eq. 7), which a study sweeps, nor the text, which only selects.
    """

    resolution: int = Field(default=96, ge=16, le=1024)
    vqgan: VQGANConfig = VQGANConfig()
    variance: Variance = "estimated"
    augmentations: int = Field(default=4, ge=2, description="N: augmented views per original (eq. 3 needs two)")
    train_samples: PositiveInt = Field(default=2, description="T: sampled images in L_mse, whatever copies is")
    originals_per_step: PositiveInt = Field(default=4, description="originals in a step; drawn by (seed, l) if more")
    commitment: float = Field(default=0.25, ge=0)
    perceptual: Literal["lite0", "none"] = "lite0"
    perceptual_weight: float = Field(default=1.0, ge=0)
    learning_rate: PositiveFloat = 1e-3
    betas: tuple[float, float] = (0.5, 0.9)
    precision: Literal["fp32", "bf16"] = "fp32"
    init: Literal["scratch"] = "scratch"

    @model_validator(mode="after")
    def _resolution_fits_network(self) -> Self:
        if self.resolution % self.vqgan.downsampling:
            raise ValueError(
                f"resolution = {self.resolution} must be a multiple of the network's f = {self.vqgan.downsampling}"
            )
        return self

    def identity(self, augmentation: str) -> dict[str, Any]:
        """Everything that decides the trained weights, as plain values, for a fingerprint."""
        weights = {"perceptual_sha256": resolve("efficientnet_lite0").sha256} if self.perceptual == "lite0" else {}
        policy: AugmentationPolicy = POLICIES[augmentation]
        return {**self.model_dump(mode="json"), "augmentation": policy.model_dump(mode="json"), **weights}
