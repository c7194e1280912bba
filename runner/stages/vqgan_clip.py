"""The VQGAN-CLIP stage: images of the study's own VQGAN, optimised towards the prompt one by one (Table 1).

In the store, every image lies on its own below ``vqgan_clip/<fingerprint>/`` as soon as it is made: a stopped run goes
on with the next image, and more copies later make only the new ones. An image set is the first of them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from components.generator.vqgan_clip_config import VQGANClipConfig
from runner.stages.base import Context, SharedValue, Stage, Work
from runner.stages.prompt import cached_encoder, embed, text_embedding
from runner.stages.training import TrainingStage
from runner.stages.values import Originals
from runner.store.artifacts import arrays_bytes

if TYPE_CHECKING:
    from components.encoders import Encoder
    from components.generator.generator import Generator
    from components.generator.vqgan import VQGAN


@dataclass(frozen=True, kw_only=True)
class VQGANClipStage(Stage):
    """Optimise the latent of a training's network, as it is after ``updates``, towards a prompt, once for each copy.

    ``key`` is the image set's; ``images`` is the key below which the single images lie, whatever ``copies`` is.
    ``trained`` is the image set by which the network gets its updates; None where the published network is used.
    """

    kind = "vqgan_clip"
    title = "VQGAN-CLIP set"
    version = 1
    takes = "generator"

    images: str
    training: TrainingStage
    trained: str | None
    updates: int
    prompt: str
    prompt_kind: str
    copies: int
    config: VQGANClipConfig

    @property
    def inputs(self) -> tuple[str, ...]:
        """The prompt, and either the trained network or what a fresh one is built of."""
        return (self.prompt, *((self.trained,) if self.trained else self.training.inputs))

    @property
    def reads(self) -> tuple[SharedValue, ...]:
        """The support's originals."""
        return (Originals(self.training.support),)

    @property
    def home(self) -> str:
        """That of the training, whose process may still hold the network."""
        return self.training.home

    def work(self, wanted: Sequence[Stage], device: str) -> Sequence[Work]:
        """Steps of the optimisation."""
        return (Work(self._kind(device), self.copies * self.config.iterations),)

    def memory_kind(self) -> str:
        """That of the training: an update of the network takes more than a step of its latent."""
        return self.training.step_kind("cuda")

    def run(self, context: Context, wanted: Sequence[Stage]) -> None:
        """Make the images that the store does not hold yet, and commit the set."""
        store, training = context.store, self.training
        began = time.perf_counter()
        text = text_embedding(store, self.prompt, self.prompt_kind)
        encoder = cached_encoder(training.encoder, context.device, training.precision)
        generator = self._trained(context)
        fresh = sum(not store.has(self._part(m)) for m in range(self.copies))
        optimising = time.perf_counter()
        images = np.stack([self._image(context, generator.vqgan, encoder, text, m) for m in range(self.copies)])
        if fresh:
            seconds = time.perf_counter() - optimising
            context.measured(self._kind(context.device), seconds, fresh * self.config.iterations)
        info = {
            "copies": self.copies,
            "iteration": self.updates + 1,
            "similarity": self._similarity(embed(encoder, images), text),
            "generator": training.key,
            "images": self.images,
            "seconds": time.perf_counter() - began,
        }
        store.put(self.key, {"images.safetensors": arrays_bytes({"images": images})}, info)
        context.warm.keep(training.key, generator)

    def _kind(self, device: str) -> str:
        return f"vqgan_clip|{self.config.cutouts}|{self.training.image_kind(device)}"

    def _trained(self, context: Context) -> Generator:
        """The generator after exactly ``updates`` updates: in memory, or from the nearest checkpoint before."""
        from runner.stages.image_sets import checkpoints, restored

        store, key = context.store, self.training.key
        warm: Generator | None = context.warm.take(key)
        if warm is not None and warm.iteration == self.updates:
            return warm
        spec = self.training.spec(context)
        updates = max((u for u in checkpoints(store, key) if u <= self.updates), default=0)

        def start() -> Generator:
            return spec.build(context.device)

        generator = restored(store, key, updates, start) if updates else start()
        began = time.perf_counter()
        if replayed := generator.advance(self.updates):
            context.stepped(generator.iteration, len(replayed), time.perf_counter() - began)
        return generator

    def _similarity(self, embeddings: np.ndarray, text: np.ndarray) -> float:
        from components.integrator import Trace, similarities

        trace = Trace(np.array([self.updates + 1]), embeddings[None])
        return float(similarities(trace, text, self.copies)[0])

    def _part(self, m: int) -> str:
        return f"{self.images}/image-{m:05d}"

    def _image(self, context: Context, vqgan: VQGAN, encoder: Encoder, text: np.ndarray, m: int) -> np.ndarray:
        """Image m uint8 (R, R, 3), read or made."""
        from components.generator.vqgan_clip import optimise

        store, part = context.store, self._part(m)
        if not store.has(part):
            config, seed = self.training.config, self.training.seed
            made = optimise(vqgan, encoder, text, self.config, config.resolution // config.vqgan.downsampling, seed, m)
            store.put(part, {"image.safetensors": arrays_bytes(made._asdict())}, {"loss": float(made.losses[-1])})
        return store.get(part).arrays("image.safetensors")["image"]
