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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from components.errors import BadInput, GoodshotError
from components.generator.augment import POLICIES, augment, to_uint8
from components.generator.config import Detail, GeneratorConfig
from components.generator.latent import LatentDistribution, sample_noise
from components.generator.objective import VarianceAwareVQGAN
from components.generator.vqgan import VQGAN

# Decoding always runs in batches of this size, the last one padded, so that a sample's pixels do not depend on
# how many others are made with it.
DECODE_CHUNK = 5


@dataclass(frozen=True)
class StepLosses:
    """The terms of eq. 7 at one iteration, as plain numbers."""

    iteration: int
    total: float
    mse: float
    reconstruction: float
    perceptual: float
    codebook: float


class Generator:
    """Train on a support's originals, sample image sets from the current weights.

    Args:
        originals: K arrays uint8 (H, W, 3), any sizes; square-resized to ``config.resolution``.
        config: the network and its training.
        vq_weight: λ of eq. 7.
        seed: drives weights, views and noise.
        augmentation: name of the policy for the views (``augment.POLICIES``).
        device: torch device. Bit-exact continuation holds on the CPU with a fixed thread count.
    """

    def __init__(
        self,
        originals: Sequence[np.ndarray],
        config: GeneratorConfig,
        vq_weight: float,
        seed: int,
        augmentation: str = "mild",
        device: str = "cpu",
    ) -> None:
        if not originals:
            raise BadInput("generator: no original image given; give at least one photograph of a good product")
        self.config, self.vq_weight, self.seed = config, vq_weight, seed
        self.policy = POLICIES[augmentation]
        self.iteration = 0
        self._accelerator = Accelerator(
            cpu=device == "cpu", mixed_precision="bf16" if config.precision == "bf16" else "no"
        )
        self._device = self._accelerator.device
        self._originals = torch.stack([_to_square(o, config.resolution) for o in originals]).to(self._device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = VarianceAwareVQGAN(config, vq_weight)
        for module in model._perceptual:
            module.to(self._device)
        optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate, betas=config.betas)
        self._model, self._optimiser = self._accelerator.prepare(model, optimiser)
        self._seed_codebook()

    @property
    def vqgan(self) -> VQGAN:
        """The network at the current iteration, in evaluation mode."""
        model: VarianceAwareVQGAN = self._accelerator.unwrap_model(self._model)
        return model.eval().vqgan

    def advance(self, to: int) -> list[StepLosses]:
        """Train until iteration ``to`` is reached. Returns the losses of the steps made, in order."""
        return [self.step() for _ in range(to - self.iteration)]

    def step(self) -> StepLosses:
        """One update (eq. 7). Raises :class:`GoodshotError` if the loss is not finite."""
        self._model.train()
        chosen = self._originals_of_step()
        originals = self._originals[chosen]
        views = torch.stack([self._views(k) for k in chosen])
        noise = self._noise(range(self.config.train_samples))
        terms = self._model(originals * 2 - 1, views * 2 - 1, noise)
        if not torch.isfinite(terms.total):
            raise GoodshotError(
                f"generator: the loss became {float(terms.total)} at iteration {self.iteration} "
                f"(vq_weight {self.vq_weight}, learning_rate {self.config.learning_rate}); "
                "lower generator.learning_rate"
            )
        self._optimiser.zero_grad(set_to_none=True)
        self._accelerator.backward(terms.total)
        self._optimiser.step()
        self.iteration += 1
        return StepLosses(self.iteration, *(float(value.detach()) for value in terms))

    @torch.no_grad()
    def sample(self, copies: int, detail: Detail = "none") -> np.ndarray:
        """The first ``copies`` images of the current iteration; sample m belongs to original m mod K.

        ``detail``: ``none`` decodes the sampled latents as they are; ``residual`` adds the difference between the
        decoded sample and the decoded mean to the original, which keeps what the decoder blurs.

        Returns:
            uint8 RGB (M, R, R, 3) at the generator's resolution.
        """
        self._model.eval()
        count = len(self._originals)
        distributions = [self._distribution(k) for k in range(min(count, copies))]
        noise = self._noise(range(copies))
        latents = torch.cat([distributions[m % count].sample(noise[m : m + 1]) for m in range(copies)])
        images = self._decode(latents)
        if detail == "residual":
            means = self._decode(torch.stack([d.mean for d in distributions]))
            owners = torch.arange(copies, device=self._device) % count
            images = self._originals[owners] * 2 - 1 + images - means[owners]
        return to_uint8(images.float() / 2 + 0.5)

    @torch.no_grad()
    def distribution(self, original: int = 0) -> LatentDistribution:
        """E and √Σ of one original at the current iteration, each (C, h, w)."""
        self._model.eval()
        return self._distribution(original)

    def save(self, path: Path) -> None:
        """Write weights, Adam's moments and the iteration as one safetensors file."""
        tensors = {f"model.{name}": value.contiguous() for name, value in self._weights().items()}
        optimiser = self._optimiser.state_dict()
        for index, moments in optimiser["state"].items():
            tensors |= {f"adam.{index}.{name}": torch.as_tensor(value) for name, value in moments.items()}
        save_file(tensors, path, metadata={"iteration": str(self.iteration), "options": self._options()})

    def restore(self, path: Path) -> Self:
        """Continue from :meth:`save`'s file. Raises :class:`BadInput` if it is another generator's."""
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("options") != self._options():
                raise BadInput(f"{path}: saved by a generator with other options; remove it to train anew")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        weights = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
        self._accelerator.unwrap_model(self._model).vqgan.load_state_dict(weights)
        state = self._optimiser.state_dict()
        state["state"] = _adam_state(tensors)
        self._optimiser.load_state_dict(state)
        self.iteration = int(metadata["iteration"])
        return self

    def _options(self) -> str:
        options = {
            "config": self.config.model_dump(mode="json"),
            "vq_weight": self.vq_weight,
            "seed": self.seed,
            "augmentation": self.policy.model_dump(mode="json"),
        }
        return json.dumps(options, sort_keys=True)

    def _weights(self) -> dict[str, Tensor]:
        weights: dict[str, Tensor] = self._accelerator.unwrap_model(self._model).vqgan.state_dict()
        return weights

    def _originals_of_step(self) -> list[int]:
        """All originals, or ``originals_per_step`` of them drawn by (seed, l).

        The first ``train_samples`` of them are the targets of eq. 6, so they take turns.
        """
        count, wanted = len(self._originals), self.config.originals_per_step
        if count <= wanted:
            first = self.iteration * self.config.train_samples
            return [(first + k) % count for k in range(count)]
        rng = np.random.default_rng((self.seed, 0x0B, self.iteration))
        return [int(k) for k in rng.choice(count, wanted, replace=False)]

    def _views(self, original: int) -> Tensor:
        """(N, 3, R, R) in [0, 1]."""
        stream = (self.iteration, original)
        return augment(self._originals[original], self.policy, self.config.augmentations, self.seed, stream)

    def _noise(self, samples: range) -> Tensor:
        side = self.config.resolution // self.config.vqgan.downsampling
        shape = (self.config.vqgan.latent_channels, side, side)
        return sample_noise(shape, self.seed, self.iteration, samples).to(self._device)

    def _distribution(self, original: int) -> LatentDistribution:
        model: VarianceAwareVQGAN = self._accelerator.unwrap_model(self._model)
        return model.distribution(self._views(original) * 2 - 1)

    def _decode(self, latents: Tensor) -> Tensor:
        model: VarianceAwareVQGAN = self._accelerator.unwrap_model(self._model)
        images = []
        for chunk in torch.split(latents, DECODE_CHUNK):
            padding = chunk[-1:].expand(DECODE_CHUNK - len(chunk), *chunk.shape[1:])
            images.append(model.vqgan.decode(torch.cat([chunk, padding]))[: len(chunk)])
        return torch.cat(images)

    @torch.no_grad()
    def _seed_codebook(self) -> None:
        """Start the codebook at latents of the first views: a fresh uniform one is used at one entry by all."""
        vqgan = self._accelerator.unwrap_model(self._model).vqgan
        latents = vqgan.encode(self._views(0) * 2 - 1)
        flat = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(flat), generator=generator)
        weight = vqgan.quantize.embedding.weight
        weight[: len(flat)] = flat[order[: len(weight)]]


def _to_square(image: np.ndarray, side: int) -> Tensor:
    """uint8 (H, W, 3) → (3, side, side) in [0, 1], bicubic with antialiasing."""
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).unsqueeze(0).float() / 255
    resized = F.interpolate(tensor, size=(side, side), mode="bicubic", antialias=True, align_corners=False)
    return resized[0].clamp(0, 1)


def _adam_state(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("adam."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
    return state


def losses_table(losses: Sequence[StepLosses]) -> dict[str, list[Any]]:
    """Losses as columns, for Arrow."""
    rows = [asdict(step) for step in losses]
    return {name: [row[name] for row in rows] for name in StepLosses.__dataclass_fields__}
