"""Train the start weights that come with goodshot (``init: embedded``) on photographs inside scikit-image's wheel.

    python -m benchmarks.train_embedded WORKDIR [--steps N]

By scikit-image's own words the photographs are CC0, in the public domain or without known restrictions; of the moon
it says nothing, which leaves its BSD licence. Brick, gravel and coins are left out because the demo judges on them, and
are what the validation line shows instead. Crops of random size, place, orientation and tone; L1,
perceptual and commitment terms as in ``losses.py``, and a hinge GAN in the last third. The codebook is the running mean
of the latents that chose each entry (van den Oord et al. 2017, appendix A.1) with idle entries moved to a latent of the
batch: trained by its gradient it lags behind the encoder at this size. Stops and continues at ``WORKDIR/state.pt``;
the result is ``WORKDIR/embedded.safetensors``.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import skimage.data
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from goodshot.components.generator.augment import to_uint8
from goodshot.components.generator.config import EMBEDDED_NETWORK
from goodshot.components.generator.discriminator import (
    PatchDiscriminator,
    adaptive_weight,
    discriminator_hinge,
    generator_hinge,
)
from goodshot.components.generator.start import save_vqgan
from goodshot.components.generator.vqgan import VQGAN
from goodshot.components.perceptual import PerceptualLoss

PHOTOGRAPHS = (
    "astronaut", "camera", "cell", "chelsea", "clock", "coffee", "grass", "hubble_deep_field",
    "immunohistochemistry", "moon", "retina", "rocket",
)  # fmt: skip
HELD_OUT = ("brick", "coins", "gravel")
SIDE, BATCH, STEPS, SEED = 96, 8, 4600, 0
STRUCTURE = 2200
"""Steps under a strong perceptual term, which finds edges and textures but leaves colours pale."""
BETA, RATES, LAST_RATE = 0.25, (8e-4, 6e-4), 5e-5
PERCEPTUAL = (0.5, 0.1)
COLOUR, COLOUR_CELL = 2.0, 8
"""Then: less of it, and L1 of the means of 8 × 8 pixels."""
ADVERSARIAL_FROM, CRITIC_FROM, ADVERSARIAL = 3400, 3250, 0.4
DECAY, IDLE = 0.99, 0.02
SAVE_EVERY = 200


class RunningCodebook:
    """The codebook as running means: counts (K,) and sums (K, C) of the latents that chose each entry."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight
        self.counts = torch.ones(len(weight))
        self.sums = weight.clone()

    @torch.no_grad()
    def update(self, latents: Tensor, indices: Tensor, generator: torch.Generator) -> None:
        """Move the entries towards the latents (B, C, h, w) that chose them; idle ones to latents at random."""
        flat = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
        chosen = F.one_hot(indices.flatten(), len(self.weight)).float()
        self.counts.mul_(DECAY).add_(chosen.sum(0), alpha=1 - DECAY)
        self.sums.mul_(DECAY).add_(chosen.T @ flat, alpha=1 - DECAY)
        idle = self.counts < IDLE
        if count := int(idle.sum()):
            at = torch.randint(len(flat), (count,), generator=generator)
            self.sums[idle], self.counts[idle] = flat[at], 1.0
        self.weight.copy_(self.sums / self.counts[:, None].clamp_min(1e-5))


def photographs(names: tuple[str, ...]) -> list[Tensor]:
    """(3, H, W) in [0, 1] each."""
    found = []
    for name in names:
        array = np.asarray(getattr(skimage.data, name)())
        colour = np.repeat(array[..., None], 3, 2) if array.ndim == 2 else array[..., :3]
        found.append(torch.from_numpy(np.ascontiguousarray(colour)).permute(2, 0, 1).float() / 255)
    return found


def batch(photos: list[Tensor], step: int, size: int = BATCH) -> Tensor:
    """(B, 3, S, S) in [−1, 1], a function of the step alone."""
    rng = np.random.default_rng((SEED, step))
    return torch.stack([_crop(photos[rng.integers(len(photos))], rng) for _ in range(size)]) * 2 - 1


def _crop(photo: Tensor, rng: np.random.Generator) -> Tensor:
    height, width = photo.shape[1:]
    side = int(min(height, width, SIDE * math.exp(rng.uniform(math.log(0.6), math.log(3.5)))))
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    x = photo[None, :, top : top + side, left : left + side]
    x = F.interpolate(x, (SIDE, SIDE), mode="bicubic", antialias=True, align_corners=False)[0].clamp(0, 1)
    x = torch.rot90(x, int(rng.integers(4)), (1, 2))
    x = x.flip(2) if rng.random() < 0.5 else x
    x = 1 - x if rng.random() < 0.1 else x
    x = x.mean(0, keepdim=True).expand(3, -1, -1) if rng.random() < 0.15 else x[torch.from_numpy(rng.permutation(3))]
    gain = torch.from_numpy(rng.uniform(0.85, 1.15, (3, 1, 1))).float() * rng.uniform(0.6, 1.2)
    return (x * gain + rng.uniform(-0.1, 0.2)).clamp(0, 1)


def learning_rate(step: int, steps: int) -> float:
    """A warm-up of 50 steps, then a half cosine in each phase; the first is cut where the second begins."""
    start, length, rate = (0, 4000, RATES[0]) if step < STRUCTURE else (STRUCTURE, steps - STRUCTURE, RATES[1])
    decayed = LAST_RATE + (rate - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * (step - start) / length))
    return decayed * min(1, (step + 1) / 50)


class Trainer:
    """The whole state; :meth:`step` is a function of it and the step's number."""

    def __init__(self, workdir: Path, steps: int) -> None:
        torch.manual_seed(SEED)
        self.workdir, self.steps, self.done = workdir, steps, 0
        self.photos = photographs(PHOTOGRAPHS)
        self.vqgan = VQGAN(EMBEDDED_NETWORK, SIDE).to(memory_format=torch.channels_last)
        weight = self.vqgan.quantize.embedding.weight.requires_grad_(False)
        self.critic = PatchDiscriminator(layers=2, channels=32)
        self.perceptual = PerceptualLoss()
        learned = [p for p in self.vqgan.parameters() if p.requires_grad]
        self.optimiser = torch.optim.Adam(learned, lr=RATES[0], betas=(0.5, 0.9))
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), lr=RATES[0] / 4, betas=(0.5, 0.9))
        self.codebook = RunningCodebook(weight)
        self._seed_codebook()

    @torch.no_grad()
    def _seed_codebook(self) -> None:
        latents = self.vqgan.encode(batch(self.photos, 0, 4 * BATCH))
        flat = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
        order = torch.randperm(len(flat), generator=torch.Generator().manual_seed(SEED))
        self.codebook.weight.copy_(flat[order[: len(self.codebook.weight)]])
        self.codebook.sums.copy_(self.codebook.weight)

    def step(self) -> dict[str, float]:
        """One update of everything."""
        late = int(self.done >= STRUCTURE)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.done, self.steps)
        images = batch(self.photos, self.done + 1).contiguous(memory_format=torch.channels_last)
        latents = self.vqgan.encode(images)
        quantised = self.vqgan.quantize(latents)
        decoded = self.vqgan.decode(quantised.latents)
        l1, perceptual = (images - decoded).abs().mean(), self.perceptual(decoded, images)
        nll = l1 + PERCEPTUAL[late] * perceptual
        if late:
            nll = nll + COLOUR * F.avg_pool2d(images - decoded, COLOUR_CELL).abs().mean()
        total = nll + BETA * F.mse_loss(latents, quantised.codes)
        adversarial = self.done >= ADVERSARIAL_FROM
        if adversarial:
            self.critic.requires_grad_(False)
            hinge = generator_hinge(self.critic(decoded))
            total = total + ADVERSARIAL * adaptive_weight(nll, hinge, self.vqgan.decoder.conv_out.weight) * hinge
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.vqgan.parameters(), 1.0)
        self.optimiser.step()
        if self.done >= CRITIC_FROM:
            self.critic.requires_grad_(True)
            self.critic_optimiser.zero_grad(set_to_none=True)
            discriminator_hinge(self.critic(images), self.critic(decoded.detach())).backward()
            self.critic_optimiser.step()
        generator = torch.Generator().manual_seed(self.done)
        self.codebook.update(latents.detach(), quantised.indices, generator)
        self.done += 1
        used = len(quantised.indices.unique()) / len(self.codebook.weight)
        return {"l1": l1.item(), "perceptual": perceptual.item(), "codes": used}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """On crops of photographs that are not trained on."""
        images = torch.stack([_crop(p, np.random.default_rng((1, i))) for i, p in enumerate(self._held_out())]) * 2 - 1
        decoded = self.vqgan.decode(self.vqgan.quantize(self.vqgan.encode(images)).latents)
        self._sheet(images, decoded)
        error = F.mse_loss(decoded.clamp(-1, 1), images)
        return {
            "l1": float((images - decoded).abs().mean()),
            "perceptual": float(self.perceptual(decoded, images)),
            "psnr": float(10 * torch.log10(4 / error)),
        }

    def _held_out(self) -> list[Tensor]:
        return photographs(HELD_OUT) * 4

    def _sheet(self, images: Tensor, decoded: Tensor) -> None:
        from PIL import Image

        rows: NDArray[np.uint8] = np.concatenate([to_uint8(images / 2 + 0.5), to_uint8(decoded / 2 + 0.5)], 1)
        Image.fromarray(np.concatenate(list(rows), 1)).save(self.workdir / "held_out.png")

    def save(self) -> None:
        """The state, then the weights. Both replace what was there in one move."""
        state = {
            "done": self.done,
            "vqgan": self.vqgan.state_dict(),
            "critic": self.critic.state_dict(),
            "optimisers": [self.optimiser.state_dict(), self.critic_optimiser.state_dict()],
            "codebook": [self.codebook.counts, self.codebook.sums],
        }
        torch.save(state, self.workdir / "state.tmp")
        (self.workdir / "state.tmp").replace(self.workdir / "state.pt")

    def load(self) -> None:
        """Continue, where there is a state."""
        if not (self.workdir / "state.pt").is_file():
            return
        state = torch.load(self.workdir / "state.pt", weights_only=True)
        self.done = state["done"]
        self.vqgan.load_state_dict(state["vqgan"])
        self.critic.load_state_dict(state["critic"])
        for optimiser, values in zip((self.optimiser, self.critic_optimiser), state["optimisers"], strict=True):
            optimiser.load_state_dict(values)
        self.codebook.counts, self.codebook.sums = state["codebook"]


def main() -> None:
    """Train, or continue."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    options.workdir.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(options.workdir, options.steps)
    trainer.load()
    began = time.perf_counter()
    while trainer.done < options.steps:
        terms = trainer.step()
        if trainer.done % SAVE_EVERY == 0 or trainer.done == options.steps:
            trainer.save()
            shown = "  ".join(f"{k} {v:.3f}" for k, v in terms.items())
            held = "  ".join(f"{k} {v:.3f}" for k, v in trainer.validate().items())
            print(f"{trainer.done:6d} {time.perf_counter() - began:7.0f} s  {shown}  | held out {held}", flush=True)
    path = options.workdir / "embedded.safetensors"
    print(path, save_vqgan(path, trainer.vqgan, EMBEDDED_NETWORK, SIDE))


if __name__ == "__main__":
    main()
