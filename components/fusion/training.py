"""The losses of the diffusion networks (eq. 17): of the small base on good images, of fusion on defective ones.

# B images of a step, R × R pixels, C channels of what is diffused, h × w its positions
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from goodshot.components.defects.images import DefectImages
from goodshot.components.errors import BadInput
from goodshot.components.fusion.affine import moved, normal, random_maps, seeded
from goodshot.components.fusion.base import Base, new_base, noise_schedule
from goodshot.components.fusion.config import BaseConfig, FusionConfig, Learning
from goodshot.components.fusion.features import DefectFeatures
from goodshot.components.fusion.learning import Training
from goodshot.components.fusion.mask_encoder import encoder_masks
from goodshot.components.fusion.model import Condition, FusionModel

_BASE, _FUSION, _VALIDATION = 0xF3, 0xF4, 0xF5


def prediction_loss(
    predicted: Tensor,
    noise: Tensor,
    inside: Tensor | None = None,
    weight: float = 1.0,
    of_images: Tensor | float = 1.0,
) -> Tensor:
    """Eq. 17, squared: mean over images of the weighted mean of (ε − ε_θ)², in fp32.

    Args:
        predicted, noise: (B, C, h, w).
        inside: bool (B, 1, h, w), the positions whose error counts ``weight`` times; each image's weights are divided
        by their sum, so that small defects count as much as large ones.
        of_images: (B, 1, 1, 1), the factor of each image's error (`Base.loss_weight`).
    """
    error = of_images * (predicted.float() - noise).square().mean(1, keepdim=True)
    if inside is None or weight == 1:
        return error.mean()
    weights = torch.where(inside, weight, 1.0)
    return ((error * weights).sum((1, 2, 3)) / weights.sum((1, 2, 3)).clamp(min=1e-6)).mean()


def to_images(images: NDArray[np.uint8], side: int) -> Tensor:
    """uint8 RGB (N, S, S, 3) → (N, 3, R, R) in [−1, 1], bicubic with antialiasing where the sides differ."""
    given = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    if given.shape[-1] == side:
        return given
    resized = F.interpolate(given, (side, side), mode="bicubic", antialias=True, align_corners=False)
    return resized.clamp(-1, 1)


def masks_at(masks: Tensor, side: int) -> Tensor:
    """Masks (B, 1, S, S), any values → bool (B, 1, side, side): positions that a defective pixel touches."""
    return F.adaptive_max_pool2d(masks.float(), side) > 0


def base_training(
    goods: NDArray[np.uint8], resolution: int, config: BaseConfig, seed: int, device: str = "cpu"
) -> Training[Base]:
    """The training of a small base on good images, uint8 RGB (N, S, S, 3), at its first step; no condition is given."""
    if not len(goods):
        raise BadInput("diffusion base: no good image given; give at least one photograph of a good product")
    base = new_base(resolution, config, seed)
    images = to_images(goods, resolution)
    base.fit(images[:64])
    base.codec.requires_grad_(False)
    accelerator = Accelerator(cpu=device == "cpu")
    schedule, mine = noise_schedule(base), _share_of(config, accelerator)

    def loss(network: nn.Module, step: int) -> Tensor:
        rng = seeded(seed, _BASE, step)
        chosen = rng.integers(len(images), size=config.batch)
        batch = moved(images[chosen], random_maps(config.affine, config.batch, rng))[mine].to(accelerator.device)
        x_t, times, noise = noised(base, schedule, base.encode(batch), rng, config.batch, mine)
        return prediction_loss(network(x_t, times), noise, of_images=base.loss_weight(times))

    options = {"base": config.learned_as(), "resolution": resolution, "seed": seed}
    return Training(base, config, loss, accelerator, json.dumps(options, sort_keys=True))


def noised(
    base: Base, schedule: object, x_0: Tensor, rng: np.random.Generator, batch: int, mine: slice
) -> tuple[Tensor, Tensor, Tensor]:
    """x_t of eq. 10 at random timesteps: (x_t, timesteps, ε) of this process's share ``mine`` of the batch."""
    times = torch.from_numpy(rng.integers(schedule.config.num_train_timesteps, size=batch))  # type: ignore[attr-defined]
    noise = normal((batch, *base.grid), rng)
    times, noise = times[mine].to(x_0.device), noise[mine].to(x_0.device)
    return schedule.add_noise(x_0, noise, times), times, noise  # type: ignore[attr-defined]


def _share_of(learning: Learning, accelerator: Accelerator) -> slice:
    """The images of a step that this process has, where several divide it."""
    rank, world = accelerator.process_index, accelerator.num_processes
    if learning.batch % world:
        raise BadInput(f"fusion: {world} workers divide a batch of {learning.batch}; choose a multiple of {world}")
    return slice(rank, None, world)


@dataclass(frozen=True)
class Pairs:
    """Defective images as training reads them: images (N, 3, R, R), masks at R and at 112 pixels, text, types."""

    images: Tensor
    masks: Tensor
    encoder_masks: Tensor
    text: Tensor
    types: Tensor

    @classmethod
    def of(cls, defects: DefectImages, features: DefectFeatures, kinds: Sequence[str], resolution: int) -> Pairs:
        """The pairs of these images, whose types are among ``kinds``."""
        given = torch.from_numpy(np.ascontiguousarray(defects.masks)).unsqueeze(1)
        return cls(
            images=to_images(defects.images, resolution),
            masks=masks_at(given, resolution).float(),
            encoder_masks=encoder_masks(defects.masks),
            text=torch.from_numpy(features.text),
            types=torch.tensor([kinds.index(kind) for kind in defects.types]),
        )

    def drawn(self, chosen: NDArray[np.int64], maps: Tensor) -> tuple[Tensor, Tensor, Condition]:
        """These images after their maps, (B, 3, R, R), the masks (B, 1, R, R) with them, and what they show."""
        masks = moved(self.encoder_masks[chosen], maps, "zeros")
        condition = Condition(self.text[chosen], masks, self.types[chosen])
        return moved(self.images[chosen], maps), moved(self.masks[chosen], maps, "zeros"), condition


def fusion_training(
    model: FusionModel, config: FusionConfig, pairs: Pairs, seed: int, accelerator: Accelerator
) -> Training[FusionModel]:
    """The training of a fusion model on defective images, at its first step."""
    schedule, mine = noise_schedule(model.base), _share_of(config, accelerator)

    def loss(network: nn.Module, step: int) -> Tensor:
        rng = seeded(seed, _FUSION, step)
        chosen = rng.integers(len(pairs.images), size=config.batch)
        images, masks, condition = pairs.drawn(chosen, random_maps(config.affine, config.batch, rng))
        x_0 = model.base.encode(images[mine].to(accelerator.device))
        x_t, times, noise = noised(model.base, schedule, x_0, rng, config.batch, mine)
        shown = Condition(*(part[mine].to(accelerator.device) for part in condition))
        inside = masks_at(masks[mine] > TOUCHED, model.base.grid[1]).to(accelerator.device)
        weights = model.base.loss_weight(times)
        return prediction_loss(network(x_t, times, shown), noise, inside, config.mask_weight, weights)

    stated = {"fusion": config.learned_as(), "seed": seed, "types": pairs.types.tolist()}
    options = json.dumps(stated, sort_keys=True)
    return Training(model, config, loss, accelerator, options)


TOUCHED = 0.25
"""A moved mask's pixel is inside from this share on: at one half, lines of one pixel would break."""
VALIDATION_TIMES = 10
"""Timesteps at which each image's validation loss is taken, evenly spaced."""


@torch.no_grad()
def validation_loss(model: FusionModel, pairs: Pairs, weight: float, seed: int) -> float:
    """The loss of eq. 17 on images that were not trained on, at fixed timesteps and with noise by the seed."""
    schedule, device = noise_schedule(model.base), next(model.parameters()).device
    total = schedule.config.num_train_timesteps
    condition = Condition(pairs.text.to(device), pairs.encoder_masks.to(device), pairs.types.to(device))
    x_0 = model.base.encode(pairs.images.to(device))
    inside = masks_at(pairs.masks, model.base.grid[1]).to(device)
    losses = []
    for step in range(VALIDATION_TIMES):
        times = torch.full((len(x_0),), (2 * step + 1) * total // (2 * VALIDATION_TIMES), device=device)
        noise = normal(tuple(x_0.shape), seeded(seed, _VALIDATION, step)).to(device)
        predicted = model(schedule.add_noise(x_0, noise, times), times, condition)
        losses.append(float(prediction_loss(predicted, noise, inside, weight, model.base.loss_weight(times))))
    return float(np.mean(losses))
