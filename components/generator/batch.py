"""The inputs of one training step: originals, augmented views and noise, as functions of (seed, l, index).

# K originals, O of them in a step, N views each, T sampled images, R × R pixels, C latent channels, h × w positions
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from goodshot.components.errors import BadInput
from goodshot.components.generator.augment import AugmentationPolicy, augment
from goodshot.components.generator.config import GeneratorConfig
from goodshot.components.generator.latent import sample_noise


class Batch(NamedTuple):
    """A part of a step's originals with their views and noise.

    A step's loss is the sum over its parts: eq. 6 averages over samples and L_vq over views, so each part is weighted
    by its share of them.
    """

    originals: Tensor
    """(O, 3, R, R) in [−1, 1], the targets of eq. 6."""
    views: Tensor
    """(O, N, 3, R, R) in [−1, 1]."""
    noise: Tensor
    """(T, C, h, w); T may be 0."""
    owners: tuple[int, ...]
    """T indices: sample t belongs to original owners[t] of this part."""
    mse_share: float
    vq_share: float


class Batches:
    """Makes the batches of a support.

    Args:
        images: K arrays uint8 (H, W, 3), any sizes; square-resized to ``config.resolution``.
        rank, world: the index of this process and the number of processes that divide a step's originals.
    """

    def __init__(
        self,
        images: Sequence[np.ndarray],
        config: GeneratorConfig,
        policy: AugmentationPolicy,
        seed: int,
        device: torch.device,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if not len(images):
            raise BadInput("generator: no original image given; give at least one photograph of a good product")
        self.config, self.policy, self.seed, self.device = config, policy, seed, device
        self.rank, self.world = rank, world
        self._images = images
        self.originals = self.originals_at(config.resolution)
        """(K, 3, R, R) in [0, 1]."""
        if world > (most := min(len(images), config.originals_per_step)):
            raise BadInput(f"generator: {world} workers share a step's originals, of which there are {most}; use fewer")

    def originals_at(self, side: int) -> Tensor:
        """The originals, square-resized: (K, 3, side, side) in [0, 1]."""
        return torch.stack([to_square(image, side) for image in self._images]).to(self.device)

    def of_step(self, iteration: int) -> list[Batch]:
        """This process's parts of the step after ``iteration`` updates: one part, or ``accumulation`` parts."""
        chosen = self.originals_of_step(iteration)
        noise = self.noise(iteration, range(self.config.train_samples))
        mine = range(len(chosen))[self.rank :: self.world]
        parts = min(self.config.accumulation, len(mine))
        return [self._part(chosen, list(mine[p::parts]), noise, iteration) for p in range(parts)]

    def _part(self, chosen: list[int], positions: list[int], noise: Tensor, iteration: int) -> Batch:
        """The originals at these positions of the step. Sample t belongs to the original at position t mod O."""
        samples = [t for t in range(len(noise)) if t % len(chosen) in positions]
        owners = tuple(positions.index(t % len(chosen)) for t in samples)
        ids = [chosen[p] for p in positions]
        return Batch(
            originals=self.originals[ids] * 2 - 1,
            views=torch.stack([self.views(iteration, k) for k in ids]),
            noise=noise[samples],
            owners=owners,
            mse_share=len(samples) / len(noise),
            vq_share=len(positions) / len(chosen),
        )

    def originals_of_step(self, iteration: int) -> list[int]:
        """All originals, or ``originals_per_step`` of them drawn by (seed, l).

        The first ``train_samples`` of them are the targets of eq. 6, so that originals take turns.
        """
        count, wanted = len(self.originals), self.config.originals_per_step
        if count <= wanted:
            first = iteration * self.config.train_samples
            return [(first + k) % count for k in range(count)]
        rng = np.random.default_rng((self.seed, 0x0B, iteration))
        return [int(k) for k in rng.choice(count, wanted, replace=False)]

    def views(self, iteration: int, original: int) -> Tensor:
        """The views of one original, (N, 3, R, R) in [−1, 1]."""
        stream = (iteration, original)
        views = augment(self.originals[original], self.policy, self.config.augmentations, self.seed, stream)
        return views * 2 - 1

    def noise(self, iteration: int, samples: range) -> Tensor:
        """The noise ε of these samples, (len(samples), C, h, w)."""
        side = self.config.resolution // self.config.vqgan.downsampling
        shape = (self.config.vqgan.latent_channels, side, side)
        correlation = self.config.noise_correlation
        return sample_noise(shape, self.seed, iteration, samples, correlation).to(self.device)


def to_square(image: np.ndarray, side: int) -> Tensor:
    """uint8 (H, W, 3) → (3, side, side) in [0, 1], bicubic with antialiasing."""
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).unsqueeze(0).float() / 255
    resized = F.interpolate(tensor, size=(side, side), mode="bicubic", antialias=True, align_corners=False)
    return resized[0].clamp(0, 1)
