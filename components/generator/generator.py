"""The variance-aware image generator: one VQGAN of one support and one λ, trained step by step (§4.1.2, §4.2).

All randomness is a function of (seed, l, index): views by (seed, l, original), noise by (seed, l, m). Nothing is drawn
from a running generator, so the state to save is the weights, Adam's moments and l, and

- ``copies`` is a prefix: the first c of 100 samples at iteration l are the c samples;
- ``iterations`` is a prefix: L = 50 is the first half of L = 100, and stopping at 50 to continue later changes nothing.

# K originals, N views, M samples, C latent channels, h × w latent positions
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from goodshot.components.errors import BadInput
from goodshot.components.generator.augment import POLICIES, to_uint8
from goodshot.components.generator.batch import Batches
from goodshot.components.generator.config import Detail, GeneratorConfig, detail_side
from goodshot.components.generator.latent import LatentDistribution, Latents
from goodshot.components.generator.training import StepLosses, Training
from goodshot.components.generator.variation import VarianceHead
from goodshot.components.generator.vqgan import VQGAN
from goodshot.components.heartbeat import beat

# Decoding always runs in batches of this size, the last one padded, so that a sample's pixels do not depend on
# the number of other samples.
DECODE_CHUNK = 5


class Generator:
    """Train on a support's originals, sample image sets from the current weights.

    Args:
        originals: K arrays uint8 (H, W, 3), any sizes; square-resized to ``config.resolution``.
        config: the network and its training.
        vq_weight: λ of eq. 7.
        seed: determines weights, views and noise.
        augmentation: name of the policy for the views (``augment.POLICIES``).
        variance_head: E → Σ (``variation.py``), which ``variance: predicted`` needs.
        device: torch device. Bit-exact continuation holds on the CPU with a fixed thread count.

    In a process group (Ray Train, ``torchrun``) the processes divide each step's originals and hold the same weights.
    """

    def __init__(
        self,
        originals: Sequence[np.ndarray],
        config: GeneratorConfig,
        vq_weight: float,
        seed: int,
        augmentation: str = "mild",
        device: str = "cpu",
        variance_head: VarianceHead | None = None,
    ) -> None:
        if (config.variance == "predicted") != (variance_head is not None):
            raise BadInput("generator: variance: predicted and a variance head belong together")
        self.config, self.vq_weight, self.seed = config, vq_weight, seed
        self.policy = POLICIES[augmentation]
        accelerator = Accelerator(cpu=device == "cpu")
        rank, world = accelerator.process_index, accelerator.num_processes
        self._batches = Batches(originals, config, self.policy, seed, accelerator.device, rank, world)
        self.training = Training(config, vq_weight, seed, accelerator, self._batches.of_step, variance_head)
        if config.init == "scratch":
            self._seed_codebook()

    @property
    def iteration(self) -> int:
        """Updates made."""
        return self.training.iteration

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes, among those that train together."""
        return bool(self.training.accelerator.is_main_process)

    def gradients(self) -> dict[str, Tensor]:
        """The gradients of the coming step's loss (eq. 7) by parameter, on the CPU. All processes call it."""
        self._settle()
        named = self.training.model.vqgan.named_parameters()
        return {name: p.grad.detach().cpu().contiguous() for name, p in named if p.grad is not None}

    @property
    def vqgan(self) -> VQGAN:
        """The network at the current iteration, in evaluation mode."""
        self._settle()
        return self.training.model.vqgan

    def advance(self, to: int) -> list[StepLosses]:
        """Train until iteration ``to`` is reached. Returns the losses of the steps made, in order."""
        return [self.step() for _ in range(to - self.iteration)]

    def step(self) -> StepLosses:
        """One update (eq. 7).

        An update after which the loss or its gradient is not finite is undone and repeated with a ten times
        smaller step. Raises :class:`GoodshotError` if that does not help.
        """
        beat()
        return self.training.step()

    @torch.no_grad()
    def sample(self, copies: int, detail: Detail = "none") -> np.ndarray:
        """The first ``copies`` images of the current iteration; sample m belongs to original m mod K.

        ``detail``: ``none`` decodes the sampled latents as they are; ``residual`` adds the difference between the
        decoded sample and the decoded mean to the original, which keeps what the decoder blurs; ``residual_256`` adds
        that difference, enlarged, to the original at 256 pixels, which also keeps detail above the generator's
        resolution.

        Returns:
            uint8 RGB (M, R, R, 3) at the generator's resolution, or at that of ``detail``.
        """
        self._settle()
        count = len(self._batches.originals)
        distributions = [self._distribution(k) for k in range(min(count, copies))]
        images = self._decode(self._sampled(distributions, copies))
        if detail != "none":
            means = self._decode(torch.stack([d.mean for d in distributions]))
            owners = [m % count for m in range(copies)]
            side = detail_side(detail, self.config.resolution)
            difference = F.interpolate(images - means[owners], (side, side), mode="bicubic", align_corners=False)
            images = self._batches.originals_at(side)[owners] * 2 - 1 + difference
        return to_uint8(images / 2 + 0.5)

    @torch.no_grad()
    def latents(self, copies: int) -> Latents:
        """The latents of the first ``copies`` images that :meth:`sample` decodes."""
        self._settle()
        model, count = self.training.model, min(len(self._batches.originals), copies)
        codes = torch.stack([model.codes(self._batches.views(self.iteration, k)) for k in range(count)])
        distributions = [model.distribution_of(maps) for maps in codes]
        variance = torch.stack([each.std**2 for each in distributions])
        return Latents(self._sampled(distributions, copies), variance, codes)

    @torch.no_grad()
    def distribution(self, original: int = 0) -> LatentDistribution:
        """E and √Σ of one original at the current iteration, each (C, h, w)."""
        self._settle()
        return self._distribution(original)

    def save(self, path: Path) -> None:
        """Write weights, Adam's moments (the discriminator's too) and the iteration as one safetensors file.

        With several processes all must call it, and the first one writes.
        """
        self._settle()
        if not self.is_first:
            return
        metadata = {
            "iteration": str(self.iteration),
            "rollbacks": str(self.training.rollbacks),
            "options": self._options(),
        }
        save_file(self.training.tensors(), path, metadata=metadata)

    def restore(self, path: Path) -> Self:
        """Continue from :meth:`save`'s file. Raises :class:`BadInput` if it is another generator's."""
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("options") != self._options():
                raise BadInput(f"{path}: saved by a generator with other options; remove it to train anew")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        self.training.load(tensors, int(metadata["iteration"]), int(metadata.get("rollbacks", 0)))
        return self

    def _settle(self) -> None:
        """Reach a finite state before it is used: the next step would undo a bad one, and the run would not repeat."""
        with torch.enable_grad():
            self.training.settle()
        self.training.model.eval()

    def _options(self) -> str:
        options = {
            "config": self.config.stated(),
            "vq_weight": self.vq_weight,
            "seed": self.seed,
            "augmentation": self.policy.stated(),
        }
        return json.dumps(options, sort_keys=True)

    def _distribution(self, original: int) -> LatentDistribution:
        return self.training.model.distribution(self._batches.views(self.iteration, original))

    def _sampled(self, distributions: Sequence[LatentDistribution], copies: int) -> Tensor:
        """The latents (M, C, h, w) of the first ``copies`` samples."""
        noise, count = self._batches.noise(self.iteration, range(copies)), len(self._batches.originals)
        return torch.cat([distributions[m % count].sample(noise[m : m + 1]) for m in range(copies)])

    def _decode(self, latents: Tensor) -> Tensor:
        images = []
        for chunk in torch.split(latents, DECODE_CHUNK):
            beat()
            padding = chunk[-1:].expand(DECODE_CHUNK - len(chunk), *chunk.shape[1:])
            images.append(self.training.model.decode(torch.cat([chunk, padding]))[: len(chunk)])
        return torch.cat(images)

    @torch.no_grad()
    def _seed_codebook(self) -> None:
        """Initialise the codebook with latents of the first views: all latents would use one entry of a uniform one."""
        vqgan = self.training.model.vqgan
        latents = vqgan.encode(self._batches.views(0, 0))
        flat = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(flat), generator=generator)
        weight = vqgan.quantize.embedding.weight
        weight[: len(flat)] = flat[order[: len(weight)]]
