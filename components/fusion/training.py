"""The losses of the diffusion networks (eq. 17): of the small base on good images, of fusion on defective ones.

# B images of a step, R × R pixels, C channels of what is diffused, h × w its positions
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
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
from goodshot.components.fusion.config import BaseConfig, FusionConfig
from goodshot.components.fusion.features import DefectFeatures
from goodshot.components.fusion.learning import Training
from goodshot.components.fusion.mask_encoder import encoder_masks
from goodshot.components.fusion.model import Condition, FusionModel
from goodshot.components.fusion.window import Window, random_window, to_image, window_about

_BASE, _FUSION, _SPECTRUM = 0xF3, 0xF4, 0xF7


def prediction_loss(
    predicted: Tensor, noise: Tensor, expected: Tensor, inside: Tensor | None = None, weight: float = 1.0
) -> Tensor:
    """Eq. 17, squared: mean over images of the weighted mean of (ε − ε_θ)², in fp32.

    Args:
        predicted, noise: (B, C, h, w).
        expected: (B,), the unit of each image's error; 1 is eq. 17.
        inside: bool (B, 1, h, w), the positions whose error counts ``weight`` times; each image's weights are divided
        by their sum, so that small defects count as much as large ones.
    """
    error = (predicted.float() - noise).square().mean(1, keepdim=True) / expected.to(noise).view(-1, 1, 1, 1)
    if inside is None or weight == 1:
        return error.mean()
    weights = torch.where(inside, weight, 1.0)
    return ((error * weights).sum((1, 2, 3)) / weights.sum((1, 2, 3)).clamp(min=1e-6)).mean()


def unit_of(base: Base, learning: FusionConfig | BaseConfig, timesteps: Tensor) -> Tensor:
    """(B,): the unit of the error at each timestep, by ``time_weight``."""
    units: dict[str, Callable[[Tensor], Tensor]] = {"relative": base.expected_error, "none": torch.ones_like}
    return units[learning.time_weight](timesteps)


def masks_at(masks: Tensor, side: int) -> Tensor:
    """Masks (B, 1, S, S), any values → bool (B, 1, side, side): positions that a defective pixel touches."""
    return F.adaptive_max_pool2d(masks.float(), side) > 0


def mask_at(mask: NDArray[np.bool_], side: int) -> Tensor:
    """One mask, bool (S, S) → bool (1, side, side), as :func:`masks_at`."""
    return masks_at(torch.from_numpy(np.ascontiguousarray(mask))[None, None], side)[0]


SPECTRUM_VIEWS = 128
"""Images from which the linear prediction of a small base is taken."""


def _spread(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return :data:`SPECTRUM_VIEWS` indices of images, with repetitions if there are fewer images."""
    return np.resize(rng.permutation(count), SPECTRUM_VIEWS)


def base_training(
    goods: NDArray[np.uint8], resolution: int, config: BaseConfig, seed: int, device: str = "cpu"
) -> Training[Base]:
    """The training of a small base on good images, uint8 RGB (N, S, S, 3), at its first step; no condition is given.

    S is the side of the images on which defects are made, so that the base sees the detail that fusion changes.
    """
    if not len(goods):
        raise BadInput("diffusion base: no good image given; give at least one photograph of a good product")
    base = new_base(resolution, config, seed)
    rng = seeded(seed, _SPECTRUM, 0)
    base.fit(views(goods, _spread(len(goods), rng), resolution, config.windows, rng))
    base.codec.requires_grad_(False)
    accelerator = Accelerator(cpu=device == "cpu")
    schedule = noise_schedule(base)

    def loss(network: nn.Module, step: int) -> Tensor:
        rng = seeded(seed, _BASE, step)
        chosen = views(goods, rng.integers(len(goods), size=config.batch), resolution, config.windows, rng)
        batch = moved(chosen, random_maps(config.affine, config.batch, rng)).to(accelerator.device)
        x_t, times, noise = noised(base, schedule, base.encode(batch), rng)
        return prediction_loss(network(x_t, times), noise, unit_of(base, config, times))

    options = {"base": config.learned_as(), "resolution": resolution, "seed": seed}
    return Training(base, config, loss, accelerator, json.dumps(options, sort_keys=True))


def views(
    goods: NDArray[np.uint8], chosen: Iterable[int], resolution: int, windows: bool, rng: np.random.Generator
) -> Tensor:
    """Random windows of these good images, or the images whole: (B, 3, R, R) in [−1, 1]."""
    side = goods.shape[1]
    whole = Window(0, 0, side)
    images = [(random_window(side, rng) if windows else whole).of(goods[i]) for i in chosen]
    return torch.stack([to_image(image, resolution) for image in images])


def noised(base: Base, schedule: object, x_0: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """x_t of eq. 10 at random timesteps: (x_t, timesteps, ε) of the batch x_0, (B, C, h, w)."""
    drawn = rng.integers(schedule.config.num_train_timesteps, size=len(x_0))  # type: ignore[attr-defined]
    times, noise = torch.from_numpy(drawn).to(x_0.device), normal((len(x_0), *base.grid), rng).to(x_0.device)
    return schedule.add_noise(x_0, noise, times), times, noise  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Pairs:
    """Defective images as training reads them: images (N, 3, R, R), masks at R and at 112 pixels, text, types."""

    images: Tensor
    masks: Tensor
    encoder_masks: Tensor
    text: Tensor
    types: Tensor

    @classmethod
    def of(
        cls, defects: DefectImages, features: DefectFeatures, kinds: Sequence[str], resolution: int, margin: float
    ) -> Pairs:
        """The windows of these images about their masks; their types are among ``kinds``."""
        windows = [window_about(mask, margin) for mask in defects.masks]
        masks = [window.of(mask) for window, mask in zip(windows, defects.masks, strict=True)]
        images = [window.of(image) for window, image in zip(windows, defects.images, strict=True)]
        return cls(
            images=torch.stack([to_image(image, resolution) for image in images]),
            masks=torch.stack([mask_at(mask, resolution) for mask in masks]).float(),
            encoder_masks=encoder_masks(masks),
            text=torch.from_numpy(features.text),
            types=torch.tensor([kinds.index(kind) for kind in defects.types]),
        )

    def drawn(self, chosen: NDArray[np.int64], maps: Tensor) -> tuple[Tensor, Tensor, Condition]:
        """Return these images warped by their maps, (B, 3, R, R), their masks (B, 1, R, R), and their conditions."""
        masks = moved(self.encoder_masks[chosen], maps, "zeros")
        condition = Condition(self.text[chosen], masks, self.types[chosen])
        return moved(self.images[chosen], maps), moved(self.masks[chosen], maps, "zeros"), condition


def fusion_training(
    model: FusionModel, config: FusionConfig, pairs: Pairs, seed: int, accelerator: Accelerator
) -> Training[FusionModel]:
    """The training of a fusion model on defective images, at its first step."""
    if config.trains == "all" and model.base.linear is not None:
        # A defect such as a red spot has colours that good images lack; their spectrum would treat the colour as noise.
        rng = seeded(seed, _SPECTRUM, 1)
        images, _, _ = pairs.drawn(_spread(len(pairs.images), rng), random_maps(config.affine, SPECTRUM_VIEWS, rng))
        model.base.linear.fit(model.base.encode(images))
    schedule = noise_schedule(model.base)

    def loss(network: nn.Module, step: int) -> Tensor:
        rng = seeded(seed, _FUSION, step)
        chosen = rng.integers(len(pairs.images), size=config.batch)
        images, masks, condition = pairs.drawn(chosen, random_maps(config.affine, config.batch, rng))
        x_0 = model.base.encode(images.to(accelerator.device))
        x_t, times, noise = noised(model.base, schedule, x_0, rng)
        shown = Condition(*(part.to(accelerator.device) for part in condition))
        inside = masks_at(masks > TOUCHED, model.base.grid[1]).to(accelerator.device)
        unit = unit_of(model.base, config, times)
        return prediction_loss(network(x_t, times, shown), noise, unit, inside, config.mask_weight)

    stated = {"fusion": config.learned_as(), "seed": seed, "types": pairs.types.tolist()}
    options = json.dumps(stated, sort_keys=True)
    return Training(model, config, loss, accelerator, options)


TOUCHED = 0.25
"""A pixel of a moved mask counts as inside from this value on: at one half, lines of one pixel would break."""
