"""The configuration of a generator: every option that changes its images, with the paper's symbol if it has one."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from goodshot.components.config import Config
from goodshot.components.generator.augment import POLICIES, AugmentationPolicy
from goodshot.components.generator.start_file import start_file
from goodshot.components.weights import resolve

Variance = Literal["estimated", "predicted", "unit", "none"]
Detail = Annotated[
    str,
    Field(
        pattern=r"^(none|residual(_[1-9]\d{1,3})?)$",
        description="none, residual, or residual_ and a side of 10 to 9999 pixels",
    ),
]
"""``none``; ``residual``; ``residual_256``: the residual, enlarged, on originals of 256 × 256 pixels."""


def detail_side(detail: Detail, resolution: int) -> int:
    """The side in pixels of images with this detail, made by a generator of this resolution."""
    return int(detail.partition("_")[2] or resolution)


class VQGANConfig(Config):
    """The network. Defaults are the small f8 model of demos and tests; :data:`F16` is the published layout."""

    channels: PositiveInt = 16
    channel_multipliers: tuple[PositiveInt, ...] = (1, 2, 2, 4)
    res_blocks: PositiveInt = 1
    attention_resolutions: tuple[PositiveInt, ...] = ()
    latent_channels: PositiveInt = 32
    codebook_size: PositiveInt = 256
    norm_groups: PositiveInt = 8
    base_resolution: PositiveInt | None = Field(
        default=None, description="the resolution that attention_resolutions refer to; none: the generator's own"
    )

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
    # Published weights have attention at the lowest level, whatever the resolution they are used at.
    base_resolution=256,
)
EMBEDDED_NETWORK = VQGANConfig(
    channels=24,
    channel_multipliers=(1, 2, 4),
    latent_channels=16,
    codebook_size=1024,
)
NETWORKS: Final = {
    "small": VQGANConfig(),
    "embedded": EMBEDDED_NETWORK,
    "f16": F16,
    "f16_16384": F16.model_copy(update={"codebook_size": 16384}),
}
"""Network name → network; ``generator.vqgan`` takes a name in place of the fields."""
_PUBLISHED: Final = {"taming:imagenet_1024": "f16", "taming:imagenet_16384": "f16_16384"}


class DiscriminatorConfig(Config):
    """The adversarial term of L_vq. Without ``start`` there is no such term, and the other fields have no effect."""

    start: NonNegativeInt | None = Field(default=None, description="disc_start: first iteration with it; none: never")
    layers: PositiveInt | None = Field(default=None, description="none: as the start weights have, else 3")
    channels: PositiveInt = Field(default=64, description="ndf; the start weights' if they have a discriminator")
    weight: float = Field(default=0.8, ge=0, description="factor of the adaptive weight; 0.75 for K = 16384")
    learning_rate: PositiveFloat | None = Field(default=None, description="none: the generator's")


class VariationConfig(Config):
    """How ``variance: predicted`` learns Σ from other categories' images (``variation.py``)."""

    images: int = Field(default=60, ge=2, description="of each category, the first by content hash")
    pairs: PositiveInt = Field(default=400, description="of each category")
    window: int = Field(default=2, ge=0, le=8, description="latent positions that a part may be shifted by")
    hidden: PositiveInt = 48
    steps: PositiveInt = 600
    batch: PositiveInt = 16
    learning_rate: PositiveFloat = 2e-3


class GeneratorConfig(Config):
    """How one variance-aware VQGAN is trained (§4.1.2, §4.2).

    ``iterations`` (L) and ``copies`` (M) are not fields: they are prefixes of one training (see ``generator.py``).
    Neither is ``vq_weight`` (λ of eq. 7), which a study sweeps, nor the text, which only selects.
    """

    resolution: int = Field(default=96, ge=16, le=1024)
    vqgan: VQGANConfig = VQGANConfig()
    variance: Variance = "estimated"
    augmentations: int = Field(default=4, ge=2, description="N: augmented views per original (eq. 3 needs two)")
    train_samples: PositiveInt = Field(default=2, description="T: sampled images in L_mse, whatever copies is")
    noise_correlation: float = Field(
        default=0.0,
        ge=0,
        le=16,
        description="latent positions over which a sample's noise varies together (Gaussian); 0: independent, the "
        "paper's",
    )
    originals_per_step: PositiveInt = Field(default=4, description="originals in a step; drawn by (seed, l) if more")
    accumulation: PositiveInt = Field(
        default=1, description="parts, by original, that a step's gradient is added up from: less memory"
    )
    commitment: float = Field(default=0.25, ge=0, description="β")
    legacy_beta: bool = Field(default=False, description="β on the codebook term, as the published code does")
    perceptual: Literal["lite0", "lpips", "none"] = Field(
        default="lite0", description="lpips: VQGAN's own, out of the published checkpoint that init names"
    )
    perceptual_weight: float = Field(default=1.0, ge=0)
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    learning_rate: PositiveFloat = 1e-3
    betas: tuple[float, float] = (0.5, 0.9)
    precision: Literal["fp32", "bf16"] = Field(default="fp32", description="bf16: mixed, codebook and losses in fp32")
    channels_last: bool = Field(default=False, description="memory format; another rounding")
    compile: bool = Field(default=False, description="torch.compile; another rounding")
    init: str = Field(
        default="scratch",
        pattern=r"^(scratch|embedded|taming:.+)$",
        description="scratch, embedded, taming:imagenet_1024, taming:imagenet_16384 or taming:FILE",
    )

    @field_validator("vqgan", mode="before")
    @classmethod
    def _network_by_name(cls, value: Any) -> Any:
        if isinstance(value, dict | VQGANConfig):
            return value
        if not isinstance(value, str) or value not in NETWORKS:
            raise ValueError(f"must be {', '.join(NETWORKS)}, or a mapping of its fields (given: {value!r})")
        return NETWORKS[value]

    @model_validator(mode="after")
    def _published_weights_are_f16(self) -> Self:
        name = _PUBLISHED.get(self.init)
        if name and self.vqgan != NETWORKS[name]:
            raise ValueError(f"init = {self.init} is another network; set generator.vqgan={name}")
        return self

    @model_validator(mode="after")
    def _predicted_needs_a_start(self) -> Self:
        if self.variance == "predicted" and self.init == "scratch":
            raise ValueError("variance = predicted reads the latents of start weights; set generator.init=embedded")
        return self

    @model_validator(mode="after")
    def _embedded_is_its_own_network(self) -> Self:
        if self.init == "embedded" and self.vqgan != EMBEDDED_NETWORK:
            raise ValueError(
                "init = embedded is another network; set generator.vqgan=embedded, or generator.init=scratch"
            )
        return self

    @model_validator(mode="after")
    def _lpips_comes_with_a_checkpoint(self) -> Self:
        if self.perceptual == "lpips" and not self.init.startswith("taming:"):
            raise ValueError(f"perceptual = lpips lies in published checkpoints, not in init = {self.init}; use lite0")
        return self

    @model_validator(mode="after")
    def _resolution_fits_network(self) -> Self:
        if self.resolution % self.vqgan.downsampling:
            raise ValueError(
                f"resolution = {self.resolution} must be a multiple of the network's f = {self.vqgan.downsampling}"
            )
        return self

    @model_validator(mode="after")
    def _parts_hold_an_original(self) -> Self:
        if self.accumulation > self.originals_per_step:
            raise ValueError(
                f"accumulation = {self.accumulation} must not exceed originals_per_step = {self.originals_per_step}"
            )
        return self

    def stated(self) -> dict[str, Any]:
        """Return the options as plain values, without paths.

        A field that was added later is left out at the value that keeps the earlier behaviour, so that earlier
        trainings keep their fingerprint.
        """
        values = self.model_dump(mode="json")
        if values["discriminator"]["start"] is None:
            del values["discriminator"]
        for name in _LATER:
            if values[name] == type(self).model_fields[name].default:
                del values[name]
        if self.vqgan.base_resolution is None:
            del values["vqgan"]["base_resolution"]
        values["init"] = self.init.partition(":")[0]
        return values

    def identity(self, augmentation: str) -> dict[str, Any]:
        """Everything that determines the trained weights, as plain values, for a fingerprint.

        The start weights and the perceptual network are identified by SHA-256, never by path. Raises
        :class:`MissingWeights` if one of them is not on this machine.
        """
        weights = {"perceptual_sha256": resolve("efficientnet_lite0").sha256} if self.perceptual == "lite0" else {}
        if start := start_file(self.init):
            weights["init_sha256"] = start.sha256
        if self.precision == "bf16":
            weights["bf16"] = "codebook and losses in fp32"
        policy: AugmentationPolicy = POLICIES[augmentation]
        return {**self.stated(), "augmentation": policy.stated(), **weights}


_LATER: Final = ("noise_correlation", "accumulation", "legacy_beta", "channels_last", "compile")


def published(name: Literal["imagenet_1024", "imagenet_16384"] = "imagenet_1024", **fields: Any) -> GeneratorConfig:
    """A published f16 model as the start, at the resolution and learning rate of its own training.

    The learning rate is VQGAN's 4.5e-6 an image, times the views of one original. ``fields`` replace fields.
    """
    views = int(fields.get("augmentations", GeneratorConfig.model_fields["augmentations"].default))
    defaults: dict[str, Any] = {
        "resolution": 256,
        "vqgan": _PUBLISHED[f"taming:{name}"],
        "discriminator": DiscriminatorConfig(weight=0.75 if name == "imagenet_16384" else 0.8),
        "learning_rate": 4.5e-6 * views,
        "init": f"taming:{name}",
    }
    return GeneratorConfig.model_validate({**defaults, **fields})
