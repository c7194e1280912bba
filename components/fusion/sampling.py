"""Blended denoising (eq. 15, 16): a defect grows inside the mask, the good image stays outside.

The paper prints √ᾱ_t x_0 + √(1−ᾱ_t) ε at step t−1; the form here is q(x_{t−1} | x_0), which has ᾱ_{t−1}, and x_0 itself
at the end.

# B images, C channels of what is diffused, h × w its positions, S × S pixels of an image
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from goodshot.components.fusion.base import Base
from goodshot.components.fusion.config import SamplingConfig
from goodshot.components.fusion.window import Window
from goodshot.components.heartbeat import beat

_NOISE = 0xF6


class Sampler(NamedTuple):
    """A scheduler of diffusers at the timesteps of the sampling, and the options of its steps."""

    scheduler: Any
    options: Mapping[str, Any]


def _ddim(base: Base, config: SamplingConfig) -> Sampler:
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    return Sampler(DDIMScheduler.from_config({**base.schedule}), {"eta": config.eta})


def _ddpm(base: Base, config: SamplingConfig) -> Sampler:
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    return Sampler(DDPMScheduler.from_config({**base.schedule}), {})


SAMPLERS: Mapping[str, Callable[[Base, SamplingConfig], Sampler]] = MappingProxyType({"ddim": _ddim, "ddpm": _ddpm})
"""``SamplingConfig.sampler`` → its scheduler."""


def build_sampler(base: Base, config: SamplingConfig) -> Sampler:
    """The sampler of a base, with ``config.steps`` timesteps from T down."""
    sampler = SAMPLERS[config.sampler](base, config)
    sampler.scheduler.set_timesteps(config.steps)
    return sampler


class Step(NamedTuple):
    """x_{t−1} after a step of the sampler, and the noised original q(x_{t−1} | x_0) that it equals outside the mask."""

    x: Tensor
    known: Tensor


def blended(
    predict: Callable[[Tensor, Tensor], Tensor],
    x_0: Tensor,
    mask: Tensor,
    sampler: Sampler,
    generators: Sequence[torch.Generator],
) -> Iterator[Step]:
    """Eq. 16, step by step from noise; the last step's ``x`` is the result.

    Args:
        predict: (x_t, t) → ε_θ, (B, C, h, w); t is a scalar tensor.
        x_0: the encoded good images, (B, C, h, w).
        mask: bool (B, 1, h, w), True where a defect is made.
        generators: B of them on the CPU: the noise of image i comes from generator i alone.
    """
    from diffusers.utils.torch_utils import randn_tensor

    scheduler, own = sampler.scheduler, list(generators)
    times = [*scheduler.timesteps]

    def noise() -> Tensor:
        return randn_tensor(x_0.shape, own, x_0.device, x_0.dtype)  # type: ignore[no-any-return]

    def known_at(t: Tensor | None) -> Tensor:
        return x_0 if t is None else scheduler.add_noise(x_0, noise(), t.expand(len(x_0)))  # type: ignore[no-any-return]

    x = torch.where(mask, noise(), known_at(times[0]))
    for t, following in zip(times, [*times[1:], None], strict=True):
        beat()
        proposed = scheduler.step(predict(x, t), t, x, generator=own, **sampler.options).prev_sample
        known = known_at(following)
        x = torch.where(mask, proposed, known)
        yield Step(x, known)


def generators_of(seed: int, indices: Sequence[int]) -> list[torch.Generator]:
    """The source of noise of each image: a function of (seed, its index)."""
    words = [np.random.SeedSequence((seed, _NOISE, index)).generate_state(1, np.uint64)[0] for index in indices]
    return [torch.Generator().manual_seed(int(word)) for word in words]


def composed(
    good: NDArray[np.uint8], mask: NDArray[np.bool_], window: Window, made: Tensor, rebuilt: Tensor | None
) -> NDArray[np.uint8]:
    """The final image, uint8 RGB (S, S, 3): outside the mask exactly the good image.

    Args:
        good: uint8 RGB (S, S, 3).
        mask: bool (S, S), within the window.
        window: the square that was made.
        made: (3, R, R), about [−1, 1], the decoded result.
        rebuilt: (3, R, R), the decoded good image, if the difference to it is to be added to the good image.
    """
    change = (made if rebuilt is None else made - rebuilt).float()
    if change.shape[-1] != window.side:
        size = (window.side, window.side)
        change = F.interpolate(change[None], size, mode="bicubic", antialias=True, align_corners=False)[0]
    image = good.copy()
    part = window.of(image)
    pixels = change.cpu().permute(1, 2, 0).numpy() * 127.5 + (127.5 if rebuilt is None else part.astype(np.float32))
    part[...] = np.where(window.of(mask)[..., None], pixels.round().clip(0, 255).astype(np.uint8), part)
    return image
