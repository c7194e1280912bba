"""The configuration of AnomalyXFusion: the embeddings, the diffusion base, their training and the sampling."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from goodshot.components.config import Config
from goodshot.components.generator.config import EMBEDDED_NETWORK

PATH = "path:"
"""The prefix of a base's name that denotes a user's folder or file."""
SMALL = "small"
MODULES = ("text", "mif", "ddf")
"""The parts that Table 6 switches."""
NO_MODULE = "none"


class AffineConfig(Config):
    """Ranges of a random affine map; each value is drawn uniformly in ± its range. All zero: the identity."""

    rotation: float = Field(default=0.0, ge=0, le=180, description="degrees")
    shift: float = Field(default=0.0, ge=0, le=0.5, description="fraction of the side")
    scale: float = Field(default=0.0, ge=0, le=0.5, description="relative")
    flips: bool = Field(default=False, description="each axis flipped with probability one half")


class Learning(Config):
    """How a network learns: Adam with a constant learning rate after a warm-up, and an average of its weights."""

    steps: PositiveInt = 300
    batch: PositiveInt = 8
    learning_rate: PositiveFloat = 1e-3
    warmup: PositiveInt = Field(default=20, description="steps over which the learning rate rises linearly")
    ema: float = Field(default=0.99, ge=0, lt=1, description="decay of the weights' average, by which images are made")
    precision: Literal["fp32", "bf16"] = Field(default="fp32", description="bf16: mixed, losses in fp32")

    def learned_as(self) -> dict[str, Any]:
        """The options as plain values, without ``steps``: a shorter training is the beginning of a longer one."""
        return self.model_dump(mode="json", exclude={"steps"})


class MaskEncoderConfig(Learning):
    """The mask autoencoder, whose encoder gives the location embedding of eq. 2. One serves all categories."""

    channels: tuple[PositiveInt, ...] = (16, 32, 64, 128)
    affine: AffineConfig = AffineConfig(rotation=180, shift=0.2, scale=0.3, flips=True)
    batch: PositiveInt = 16

    @model_validator(mode="after")
    def _sides_stay_whole(self) -> Self:
        if MASK_SIDE % 2 ** len(self.channels):
            raise ValueError(f"channels has {len(self.channels)} entries, but {MASK_SIDE} pixels can be halved 4 times")
        return self


MASK_SIDE = 112
"""The side of the masks that the mask encoder reads, in pixels."""


class ScheduleConfig(Config):
    """β of the forward process (eq. 6–10) of the small base. A published base has its own."""

    timesteps: PositiveInt = Field(default=1000, description="T")
    kind: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    beta_start: float = Field(default=1e-4, gt=0, lt=1)
    beta_end: float = Field(default=0.02, gt=0, lt=1)


TimeWeight = Literal["relative", "none"]
"""relative: a timestep's error in units of the error of a small base's linear prediction there; none: eq. 17."""


class BaseConfig(Learning):
    """The small diffusion base, trained from scratch on good images. One serves all categories.

    ``pixels`` diffuses pixels in squares of ``patch`` × ``patch``; ``latents`` the latent space of the VQGAN that is
    embedded in goodshot.
    """

    space: Literal["pixels", "latents"] = "pixels"
    patch: PositiveInt = Field(default=2, description="side of a square of pixels at one position; not for latents")
    channels: tuple[PositiveInt, ...] = (48, 64, 96)
    attention_levels: PositiveInt = Field(default=2, description="levels with cross-attention, counted from the lowest")
    layers: PositiveInt = Field(default=1, description="residual blocks a level")
    heads: PositiveInt = 4
    width: PositiveInt = Field(default=128, description="d, the width of an embedding in cross-attention")
    norm_groups: PositiveInt = 8
    schedule: ScheduleConfig = ScheduleConfig()
    affine: AffineConfig = AffineConfig(rotation=10, shift=0.05, scale=0.1)
    windows: bool = Field(default=True, description="learn square parts of the images, from a quarter of the side on")
    time_weight: TimeWeight = "relative"
    steps: PositiveInt = 400

    @property
    def factor(self) -> int:
        """Pixels per position of the diffused tensor, along one side."""
        return {"pixels": self.patch, "latents": EMBEDDED_NETWORK.downsampling}[self.space]

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if wrong := [c for c in self.channels if c % self.norm_groups or c % self.heads]:
            raise ValueError(
                f"channels = {wrong[0]} must be a multiple of norm_groups = {self.norm_groups} and heads = {self.heads}"
            )
        if self.attention_levels > len(self.channels):
            raise ValueError(
                f"attention_levels = {self.attention_levels}, but channels has {len(self.channels)} levels"
            )
        return self


class SamplingConfig(Config):
    """The options of sampling (eq. 15, 16)."""

    sampler: Literal["ddim", "ddpm"] = "ddim"
    steps: int = Field(default=25, ge=1, le=1000, description="steps of the sampler, of the schedule's T")
    eta: float = Field(default=0.0, ge=0, le=1, description="noise of DDIM; DDPM ignores it")
    batch: PositiveInt = Field(default=8, description="images computed together; changes rounding only")
    detail: Literal["residual", "none"] = Field(
        default="residual",
        description="residual: the good image plus the difference to it, enlarged, which keeps its detail; none: what "
        "the base decodes",
    )


class FusionConfig(Learning):
    """How defective images of one product are learned and made. Defaults suit two CPU cores.

    Table 6 switches ``text``, ``mif`` and ``ddf``; without all three, only textual inversion remains, the idea of
    AnomalyDiffusion.
    """

    resolution: int = Field(default=64, ge=16, le=1024)
    base: str = Field(
        default=SMALL,
        pattern=rf"^({SMALL}|{PATH}.+|[a-z0-9_]+)$",
        description="small; a checkpoint of the weights registry (ldm_text2im); path:FOLDER; path:FILE of a small base",
    )
    small: BaseConfig = BaseConfig()
    masks: MaskEncoderConfig = MaskEncoderConfig()
    text: bool = Field(default=True, description="semantic embedding of the caption (eq. 1)")
    mif: bool = Field(default=True, description="location embedding and aggregator (eq. 2, 5)")
    ddf: bool = Field(default=True, description="dynamic fusion with the timestep (eq. 14)")
    tokens: PositiveInt = Field(default=8, description="k, the tokens of each embedding")
    heads: PositiveInt = Field(default=4, description="heads of the aggregator's self-attention")
    trains: Literal["all", "embeddings"] = Field(
        default="all",
        description="embeddings: embeddings and encoders, the base is frozen (the paper); all: the base too",
    )
    mask_weight: float = Field(
        default=20.0, ge=0, description="weight of the loss inside the mask, 1 outside; 1 is eq. 17"
    )
    time_weight: TimeWeight = Field(default="relative", description="as the small base's; a published base has none")
    window: float = Field(
        default=2.0,
        ge=0,
        description="side of the square in which a defect is made, in sides of its mask (from 1 on), at least a "
        "quarter of the image's; 0: the whole image, as in the paper",
    )
    affine: AffineConfig = AffineConfig(rotation=10, shift=0.05, scale=0.1)
    sampling: SamplingConfig = SamplingConfig()

    @model_validator(mode="after")
    def _the_window_holds_the_mask(self) -> Self:
        if 0 < self.window < 1:
            raise ValueError(f"window = {self.window:g} is smaller than the mask; choose 1 or more, or 0 for no window")
        return self

    @model_validator(mode="after")
    def _sampling_has_as_many_steps_as_there_are(self) -> Self:
        if self.base == SMALL and self.sampling.steps > self.small.schedule.timesteps:
            raise ValueError(
                f"sampling.steps = {self.sampling.steps} exceeds the {self.small.schedule.timesteps} of small.schedule"
            )
        return self

    @model_validator(mode="after")
    def _published_bases_are_frozen(self) -> Self:
        if self.base != SMALL and self.trains == "all" and not self.base.startswith(PATH):
            raise ValueError(f"base = {self.base} is frozen in training; set trains=embeddings")
        return self

    @model_validator(mode="after")
    def _resolution_fits_the_small_base(self) -> Self:
        grid = self.small.factor * 2 ** (len(self.small.channels) - 1)
        if self.base == SMALL and self.resolution % grid:
            raise ValueError(
                f"resolution = {self.resolution} must be a multiple of {grid}, as the small base halves it"
            )
        return self

    @property
    def modules(self) -> str:
        """The parts of Table 6 that are switched on, such as ``text+mif``; ``none`` without any."""
        return "+".join(part for part in MODULES if getattr(self, part)) or NO_MODULE

    def with_modules(self, modules: str) -> FusionConfig:
        """These options with the parts of :attr:`modules`."""
        on = modules.split("+")
        return self.model_copy(update={part: part in on for part in MODULES})

    def learned_as(self) -> dict[str, Any]:
        """The options that determine the trained weights given the base: neither ``steps`` nor those of sampling."""
        left_out = {"steps", "sampling", "small", "base", "masks"}
        return {**self.model_dump(mode="json", exclude=left_out), "masks": list(self.masks.channels)}


def published(base: str = "ldm_text2im", **fields: Any) -> FusionConfig:
    """The paper's setting: a published latent diffusion model at 256 pixels, frozen. ``fields`` replace fields."""
    defaults: dict[str, Any] = {
        "base": base,
        "resolution": 256,
        "trains": "embeddings",
        "window": 0,
        "batch": 4,
        "learning_rate": 1e-4,
        "warmup": 500,
        "ema": 0.999,
        "steps": 30_000,
        "sampling": {"steps": 50, "detail": "none"},
    }
    return FusionConfig.model_validate({**defaults, **fields})
