"""The diffusion base: the network ε_θ, the space that it diffuses, and its noise schedule (eq. 6–10)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import safetensors.torch as st
import torch
from torch import Tensor, nn

from goodshot.components.errors import BadInput
from goodshot.components.fusion.codec import CODECS, Codec
from goodshot.components.fusion.config import BaseConfig, ScheduleConfig
from goodshot.components.fusion.linear import LinearPrediction
from goodshot.components.stored import load_exactly, tensors_in

METADATA = "diffusion_base"


class Base(nn.Module):
    """A diffusion model that takes tokens by cross-attention.

    Args:
        unet: diffusers' ``UNet2DConditionModel``.
        codec: converts images to the diffused tensor and back.
        schedule: the configuration of diffusers' schedulers.
        resolution: R, the side of its images in pixels.
        null: the learned token (1, d) of a small base that stands for "no condition"; a published base has none.
        linear: the part of ε_θ that is linear in x_t, of a small base; a published base has none.
    """

    def __init__(
        self,
        unet: nn.Module,
        codec: Codec,
        schedule: Mapping[str, Any],
        resolution: int,
        null: Tensor | None = None,
        linear: LinearPrediction | None = None,
    ) -> None:
        super().__init__()
        self.unet, self.codec, self.resolution = unet, codec, resolution
        self.schedule = dict(schedule)
        self.null = None if null is None else nn.Parameter(null)
        self.linear = linear

    @property
    def width(self) -> int:
        """d, the width of a token."""
        return int(self.unet.config["cross_attention_dim"])  # type: ignore[index]

    @property
    def grid(self) -> tuple[int, int, int]:
        """C, h, w: the shape of the diffused tensor."""
        side = self.resolution // self.codec.factor
        return self.codec.channels, side, side

    def encode(self, images: Tensor) -> Tensor:
        """Encode images (B, 3, R, R) in [−1, 1] as the diffused tensor (B, C, h, w), always in fp32."""
        with torch.autocast(images.device.type, enabled=False):
            return self.codec.encode(images.float())

    def decode(self, latents: Tensor) -> Tensor:
        """Decode the diffused tensor (B, C, h, w) into images (B, 3, R, R)."""
        with torch.autocast(latents.device.type, enabled=False):
            return self.codec.decode(latents.float())

    def forward(self, x_t: Tensor, timesteps: Tensor, tokens: Tensor | None = None) -> Tensor:
        """ε_θ: x_t (B, C, h, w), timesteps (B,), tokens (B, n, d) → noise (B, C, h, w).

        Without tokens, the null embedding is used, which only a small base has.
        """
        if tokens is None:
            assert self.null is not None  # noqa: S101 - a published base is given tokens
            tokens = self.null.expand(len(x_t), 1, -1)
        noise: Tensor = self.unet(x_t, timesteps, encoder_hidden_states=tokens).sample
        if self.linear is None:
            return noise
        scale = self.linear.remaining(timesteps).sqrt().view(-1, 1, 1, 1)
        predicted: Tensor = self.linear(x_t, timesteps) + scale * noise
        return predicted

    def expected_error(self, timesteps: Tensor) -> Tensor:
        """Return (B,): the expected squared error of a small base's linear prediction of ε; 1 for a published base."""
        return torch.ones(len(timesteps)) if self.linear is None else self.linear.remaining(timesteps)

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Fit the codec's scale and the linear part of a small base to good images (N, 3, R, R), before training."""
        assert self.linear is not None  # noqa: S101 - of a small base
        self.codec.fit(images)
        self.linear.fit(self.encode(images))


def new_base(resolution: int, config: BaseConfig, seed: int) -> Base:
    """An untrained small base, whose weights are a function of the seed."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    codec = CODECS[config.space](config)
    if resolution % (config.factor * 2 ** (len(config.channels) - 1)):
        raise BadInput(f"diffusion base: resolution = {resolution} cannot be halved {len(config.channels) - 1} times")
    attends = [level >= len(config.channels) - config.attention_levels for level in range(len(config.channels))]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=resolution // config.factor,
            in_channels=codec.channels,
            out_channels=codec.channels,
            block_out_channels=config.channels,
            layers_per_block=config.layers,
            down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends),
            up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
            cross_attention_dim=config.width,
            norm_num_groups=config.norm_groups,
            # The number of heads, in spite of its name.
            attention_head_dim=config.heads,
        )
        null = 0.02 * torch.randn(1, config.width)
    nn.init.zeros_(unet.conv_out.weight)
    nn.init.zeros_(unet.conv_out.bias)
    base = Base(unet, codec, _schedule(config.schedule, codec), resolution, null)
    base.linear = LinearPrediction(base.grid, noise_schedule(base).alphas_cumprod)
    return base


def _schedule(config: ScheduleConfig, codec: Codec) -> dict[str, Any]:
    return {
        "num_train_timesteps": config.timesteps,
        "beta_schedule": config.kind,
        "beta_start": config.beta_start,
        "beta_end": config.beta_end,
        "clip_sample": codec.bounded,
        "prediction_type": "epsilon",
    }


def noise_schedule(base: Base) -> Any:
    """diffusers' DDPMScheduler of a base: ᾱ_t, and x_t of eq. 10 by ``add_noise``."""
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    return DDPMScheduler.from_config({**base.schedule})


def base_bytes(base: Base, config: BaseConfig) -> bytes:
    """A small base as safetensors, with its configuration as metadata. The embedded VQGAN is not included."""
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in _stored(base).items()}
    facts = {"resolution": base.resolution, "config": config.model_dump(mode="json"), "codec": base.codec.identity}
    return st.save(tensors, {METADATA: json.dumps(facts, sort_keys=True)})


def base_from(content: bytes, what: str = "diffusion base") -> Base:
    """Return the base stored by :func:`base_bytes`. Raises :class:`BadInput` for damaged or other bytes."""
    tensors, metadata = tensors_in(content, what)
    if METADATA not in metadata:
        raise BadInput(
            f"{what}: another architecture: its first tensor is {min(tensors, default='none')}, and it states no "
            f"{METADATA}, as a small base of goodshot does; give a folder in diffusers' layout"
        )
    try:
        facts = json.loads(metadata[METADATA])
        base = new_base(int(facts["resolution"]), BaseConfig.model_validate(facts["config"]), seed=0)
    except (ValueError, KeyError, TypeError) as error:
        stated = " ".join(str(error).split())[:120]
        raise BadInput(f"{what}: made by another version of goodshot ({stated}); train it anew") from None
    if facts["codec"] != base.codec.identity:
        raise BadInput(f"{what}: was trained in the latents of another VQGAN than this goodshot embeds; train it anew")
    kept = {name: value for name, value in base.state_dict().items() if name not in _stored(base)}
    load_exactly(base, {**kept, **tensors}, what)
    return base.eval()


def _stored(base: Base) -> dict[str, Tensor]:
    return {name: value for name, value in base.state_dict().items() if not name.startswith("codec.vqgan.")}
