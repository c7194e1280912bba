"""``variance: predicted``: a small network predicts Σ from E. It has learned how other products vary.

Eq. 3 measures Σ over augmented views of one photograph, so it knows only what augmentation knows. Here pairs of real
normal images of other categories show how far one good part is from another: for a pair (a, b) the residual at a latent
position is the difference between b's code and a's mean E, after the nearest of b's positions within a window is
chosen (parts are only roughly aligned, and only what no shift explains is variation). The head maximises the
residuals' Gaussian likelihood given E; the encoder and the codebook stay as the start weights have them, so E means
the same for every product.

# n images of a category, N views, C latent channels, h × w latent positions
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from goodshot.components.errors import BadInput
from goodshot.components.generator.augment import AugmentationPolicy, augment
from goodshot.components.generator.batch import to_square
from goodshot.components.generator.config import VariationConfig
from goodshot.components.generator.vqgan import VQGAN
from goodshot.components.heartbeat import beat

_LOWEST, _HIGHEST = -6.0, 6.0
"""Bounds of the head's output, which is the logarithm of Σ relative to the mean variance of its channel."""


class VarianceHead(nn.Module):
    """E (B, C, h, w) → Σ (B, C, h, w): three convolutions on 5 × 5 positions, relative to the data's own scale."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, padding=1, padding_mode="replicate"),
            nn.SiLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1, padding_mode="replicate"),
            nn.SiLU(),
            nn.Conv2d(hidden, channels, 1),
        )
        last = self.layers[-1]
        # It starts as the constant Σ that fits best.
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        for name in ("centre", "scale", "variance"):
            self.register_buffer(name, torch.ones(channels))

    def forward(self, mean: Tensor) -> Tensor:
        """(B, C, h, w) → (B, C, h, w), positive."""
        return self.log_relative(mean).exp() * self.get_buffer("variance")[:, None, None]

    def log_relative(self, mean: Tensor) -> Tensor:
        """The logarithm of Σ over the channel's mean variance."""
        centred = (mean - self.get_buffer("centre")[:, None, None]) / self.get_buffer("scale")[:, None, None]
        out: Tensor = self.layers(centred).clamp(_LOWEST, _HIGHEST)
        return out


@dataclass(frozen=True)
class Encoded:
    """A category's images under a frozen encoder: ``means`` E over N views and the images' ``codes``, (n, C, h, w)."""

    means: Tensor
    codes: Tensor


@torch.no_grad()
def encode_category(
    vqgan: VQGAN, images: Sequence[np.ndarray], side: int, policy: AugmentationPolicy, views: int, seed: int
) -> Encoded:
    """Encode uint8 (H, W, 3) images, square-resized to ``side``."""
    means, codes = [], []
    for index, image in enumerate(images):
        square = to_square(image, side)
        batch = torch.cat([square[None], augment(square, policy, views, seed, (0x5A, index))]) * 2 - 1
        quantised = vqgan.quantize(vqgan.encode(batch)).latents
        codes.append(quantised[0])
        means.append(quantised[1:].mean(0))
    return Encoded(torch.stack(means), torch.stack(codes))


def residuals(mean: Tensor, codes: Tensor, window: int) -> Tensor:
    """b's codes less a's means after the best shift of each position, (C, h, w).

    Args:
        mean: E of image a, (C, h, w).
        codes: quantised latents of image b, (C, h, w).
        window: how many positions away the nearest may be, along each axis; 3 × 3 positions are compared.
    """
    channels, height, width = mean.shape
    reach = 2 * window + 1
    # Replicated borders: a position at the edge has neighbours of its own kind.
    padded = F.pad(codes[None], (window,) * 4, mode="replicate")
    shifted = F.unfold(padded, reach).view(channels, reach * reach, height, width)
    difference = shifted - mean[:, None]
    distance = F.avg_pool2d(difference.pow(2).sum(0)[None], 3, 1, 1, count_include_pad=False)[0]
    nearest = distance.argmin(0)[None, None].expand(channels, 1, height, width)
    return difference.gather(1, nearest)[:, 0]


def train_variance_head(categories: Sequence[Encoded], config: VariationConfig, seed: int) -> VarianceHead:
    """Fit the head to pairs of images, each of one category; categories take turns.

    Raises :class:`BadInput` without a category of two images.
    """
    usable = [c for c in categories if len(c.means) > 1]
    if not usable:
        raise BadInput("variance: predicted needs a category besides the own one with at least two images")
    rng = np.random.default_rng((seed, 0x5B))
    pairs = [_pairs(c, config, rng) for c in usable]
    means = torch.cat([m for m, _ in pairs])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = VarianceHead(means.shape[1], config.hidden)
    head.get_buffer("centre").copy_(means.mean((0, 2, 3)))
    head.get_buffer("scale").copy_(means.std((0, 2, 3)) + 1e-6)
    # By category, so that one with many images does not decide the scale.
    by_category = torch.stack([r.pow(2).mean((0, 2, 3)) for _, r in pairs])
    head.get_buffer("variance").copy_(by_category.mean(0) + 1e-6)
    optimiser = torch.optim.Adam(head.parameters(), lr=config.learning_rate)
    for step in range(config.steps):
        beat()
        own_means, own_residuals = pairs[step % len(pairs)]
        chosen = torch.from_numpy(rng.choice(len(own_means), min(config.batch, len(own_means)), replace=False))
        loss = negative_log_likelihood(head, own_means[chosen], own_residuals[chosen])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    return head.eval().requires_grad_(False)


def negative_log_likelihood(head: VarianceHead, means: Tensor, found: Tensor) -> Tensor:
    """Mean of ½(log Σ + r²/Σ) relative to the channel's variance: ½ for the constant Σ on its own data."""
    log = head.log_relative(means)
    relative = found.pow(2) / head.get_buffer("variance")[:, None, None]
    return 0.5 * (log + relative * (-log).exp()).mean()


def _pairs(category: Encoded, config: VariationConfig, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """(means, residuals) of so many random ordered pairs, (P, C, h, w) each."""
    count = len(category.means)
    chosen = [rng.choice(count, 2, replace=False) for _ in range(min(config.pairs, count * (count - 1)))]
    found = [residuals(category.means[a], category.codes[b], config.window) for a, b in chosen]
    return category.means[[int(a) for a, _ in chosen]], torch.stack(found)


def save_head(head: VarianceHead, path: Path) -> None:
    """Write the head as safetensors."""
    tensors = {name: tensor.contiguous() for name, tensor in head.state_dict().items()}
    save_file(tensors, path)


def load_head(path: Path) -> VarianceHead:
    """Read :func:`save_head`'s file. Raises :class:`BadInput` for any other."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if "layers.0.weight" not in tensors:
        raise BadInput(f"{path}: holds no variance head")
    hidden, channels = tensors["layers.0.weight"].shape[:2]
    head = VarianceHead(channels, hidden)
    head.load_state_dict(tensors)
    return head.eval().requires_grad_(False)
