"""The VQGAN-CLIP stage: images of the study's own VQGAN, each optimised towards the prompt (Table 1).

Each image is committed alone below ``vqgan_clip/<fingerprint>/`` when it is finished. A stopped run therefore continues
with the next image, and a later study with more copies makes only the new ones. An image set holds the first
``copies`` of these images.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from goodshot.components.generator.vqgan_clip_config import VQGANClipConfig
from goodshot.runner.stages.base import Context, SharedValue, Stage, Work
from goodshot.runner.stages.prompt import cached_encoder, embed, text_embedding
from goodshot.runner.stages.trained import trained_generator
from goodshot.runner.stages.training import TrainingStage
from goodshot.runner.stages.values import Originals
from goodshot.runner.store.artifacts import arrays_bytes

if TYPE_CHECKING:
    from goodshot.components.encoders import Encoder
    from goodshot.components.generator.vqgan import VQGAN


@dataclass(frozen=True, kw_only=True)
class VQGANClipStage(Stage):
    """Optimise latents of the network of ``training`` after ``updates`` updates towards a prompt, one for each copy.

    ``key`` is the key of the image set; ``images`` is the key below which the single images lie for every ``copies``.
    ``trained`` is the id of an image set whose training makes these updates; None if ``updates`` is 0, as it is for a
    published network.
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
        """The prompt, and either the image set that trains the network or the inputs of an untrained one."""
        return (self.prompt, *((self.trained,) if self.trained else self.training.inputs))

    @property
    def reads(self) -> tuple[SharedValue, ...]:
        """The support's originals."""
        return (Originals(self.training.support),)

    @property
    def home(self) -> str:
        """The home of the training, whose process may still hold the network."""
        return self.training.home

    def work(self, wanted: Sequence[Stage], device: str) -> Sequence[Work]:
        """The steps of the optimisation, over all copies."""
        return (Work(self._work_kind(device), self.copies * self.config.iterations),)

    def memory_kind(self) -> str:
        """The kind of a training step, which needs more memory than an optimisation step of a latent."""
        return self.training.step_kind("cuda")

    def run(self, context: Context, wanted: Sequence[Stage]) -> None:
        """Make the images that the store does not hold yet, and commit the set."""
        store, training = context.store, self.training
        began = time.perf_counter()
        text = text_embedding(store, self.prompt, self.prompt_kind)
        encoder = cached_encoder(training.encoder, context.device, training.precision)
        generator = trained_generator(training, self.updates, context)
        missing = sum(not store.has(self._image_key(m)) for m in range(self.copies))
        optimisation_began = time.perf_counter()
        images = np.stack([self._image(context, generator.vqgan, encoder, text, m) for m in range(self.copies)])
        if missing:
            seconds = time.perf_counter() - optimisation_began
            context.measured(self._work_kind(context.device), seconds, missing * self.config.iterations)
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

    def _work_kind(self, device: str) -> str:
        return f"vqgan_clip|{self.config.cutouts}|{self.training.image_kind(device)}"

    def _similarity(self, embeddings: np.ndarray, text: np.ndarray) -> float:
        from goodshot.components.integrator import Trace, similarities

        trace = Trace(np.array([self.updates + 1]), embeddings[None])
        return float(similarities(trace, text, self.copies)[0])

    def _image_key(self, m: int) -> str:
        return f"{self.images}/image-{m:05d}"

    def _image(self, context: Context, vqgan: VQGAN, encoder: Encoder, text: np.ndarray, m: int) -> np.ndarray:
        """Image ``m``, uint8 (R, R, 3), read from the store or optimised and committed."""
        from goodshot.components.generator.vqgan_clip import optimise

        store, key = context.store, self._image_key(m)
        if not store.has(key):
            config, seed = self.training.config, self.training.seed
            made = optimise(vqgan, encoder, text, self.config, config.resolution // config.vqgan.downsampling, seed, m)
            store.put(key, {"image.safetensors": arrays_bytes(made._asdict())}, {"loss": float(made.losses[-1])})
        return store.get(key).arrays("image.safetensors")["image"]
