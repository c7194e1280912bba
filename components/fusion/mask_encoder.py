"""The mask autoencoder, whose encoder gives the location embedding (eq. 2); one is trained for all categories.

# B masks, 112 × 112 pixels, C channels of the code, h × w its positions
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import safetensors.torch as st
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from goodshot.components.errors import BadInput
from goodshot.components.fusion.affine import moved, random_maps, seeded
from goodshot.components.fusion.config import MASK_SIDE, MaskEncoderConfig
from goodshot.components.fusion.learning import Training
from goodshot.components.stored import load_exactly, tensors_in


class MaskEncoder(nn.Sequential):
    """Masks (B, 1, 112, 112) → codes (B, C, h, w): convolutions 4 × 4 of stride 2, each with BatchNorm and ELU."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        steps = [(nn.Conv2d(a, b, 4, 2, 1), nn.BatchNorm2d(b), nn.ELU()) for a, b in pairwise((1, *channels))]
        super().__init__(*(layer for step in steps for layer in step))
        self.channels, self.side = channels, MASK_SIDE // 2 ** len(channels)


class MaskAutoencoder(nn.Module):
    """Encoder and its mirror, which ends in the probability of each pixel."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = MaskEncoder(channels)
        layers: list[nn.Module] = []
        for a, b in pairwise(reversed(channels)):
            layers += [nn.ConvTranspose2d(a, b, 4, 2, 1), nn.BatchNorm2d(b), nn.ELU()]
        self.decoder = nn.Sequential(*layers, nn.ConvTranspose2d(channels[0], 1, 4, 2, 1), nn.Sigmoid())

    def forward(self, masks: Tensor) -> Tensor:
        """(B, 1, 112, 112) in [0, 1] → the same shape."""
        rebuilt: Tensor = self.decoder(self.encoder(masks))
        return rebuilt


def dice_loss(predicted: Tensor, masks: Tensor) -> Tensor:
    """Mean over B of 1 − 2Σpm / (Σp² + Σm²), sums over a mask's pixels, each plus one for empty masks. (B, …) → ()."""
    p, m = predicted.float().flatten(1), masks.float().flatten(1)
    overlap, size = (p * m).sum(1), (p * p).sum(1) + (m * m).sum(1)
    return (1 - (2 * overlap + 1) / (size + 1)).mean()


def encoder_masks(masks: Sequence[NDArray[np.bool_]]) -> Tensor:
    """N masks, bool (S, S) of any S → float32 (N, 1, 112, 112): the share of each pixel that is defective."""
    given = [torch.from_numpy(np.ascontiguousarray(mask)).float()[None] for mask in masks]
    return torch.stack([F.adaptive_avg_pool2d(mask, MASK_SIDE) for mask in given])


def mask_training(
    masks: Sequence[NDArray[np.bool_]], config: MaskEncoderConfig, seed: int, device: str = "cpu"
) -> Training[MaskAutoencoder]:
    """The training of an autoencoder on random affine maps of these masks, bool (S, S), at its first step."""
    if not len(masks):
        raise BadInput("mask autoencoder: no mask given; give at least one defect's mask")
    given = encoder_masks(masks)
    accelerator = Accelerator(cpu=device == "cpu")

    def loss(network: nn.Module, step: int) -> Tensor:
        rng = seeded(seed, 0xF1, step)
        chosen = given[rng.integers(len(given), size=config.batch)]
        batch = moved(chosen, random_maps(config.affine, config.batch, rng), outside="zeros").to(accelerator.device)
        return dice_loss(network(batch), batch)

    options = json.dumps({"masks": config.learned_as(), "seed": seed}, sort_keys=True)
    return Training(new_mask_autoencoder(config, seed), config, loss, accelerator, options)


def new_mask_autoencoder(config: MaskEncoderConfig, seed: int) -> MaskAutoencoder:
    """An untrained autoencoder, whose weights are a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MaskAutoencoder(config.channels)


def mask_autoencoder_bytes(autoencoder: MaskAutoencoder) -> bytes:
    """Return the autoencoder's weights as safetensors; :func:`mask_autoencoder_from` reads them."""
    return st.save({name: value.contiguous() for name, value in autoencoder.state_dict().items()})


def mask_autoencoder_from(content: bytes, config: MaskEncoderConfig) -> MaskAutoencoder:
    """The autoencoder of :func:`mask_autoencoder_bytes`. Raises :class:`BadInput` for another architecture."""
    autoencoder = new_mask_autoencoder(config, seed=0)
    load_exactly(autoencoder, tensors_in(content, "mask autoencoder")[0], "mask autoencoder")
    return autoencoder.eval()
