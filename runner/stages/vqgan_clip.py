"""The arm ``vqgan_clip`` as a stage: images of the study's own VQGAN, optimised towards the prompt one by one.

In the store, below ``vqgan_clip/<fingerprint>/``, every image on its own as soon as it is made: a stopped run goes on
with the next one, and more copies later make only the new ones. The image set of a cell is the first of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from components.encoders import Encoder
from components.generator.generator import Generator
from components.generator.vqgan import VQGAN
from components.generator.vqgan_clip import optimise
from components.integrator import Trace, similarities
from runner.plan.plan import VQGANClipStage
from runner.stages.image_sets import checkpoints, embed, restored
from runner.store.artifacts import Store, arrays_bytes


def make_vqgan_clip(
    stage: VQGANClipStage,
    store: Store,
    encoder: Encoder,
    start: Callable[[], Generator],
    on_step: Callable[[int, float], None],
    warm: Generator | None = None,
) -> Generator | None:
    """Commit the stage's image set. Returns the generator that it used, None if it is there already.

    Args:
        start: builds a fresh generator at iteration 0.
        on_step: told of generator steps, where the training has to be replayed.
        warm: a generator of this training that is already in memory.
    """
    if store.has(stage.key):
        return None
    began = time.perf_counter()
    text = store.get(stage.prompt).arrays("embeddings.safetensors")[stage.prompt_kind]
    generator = _trained(stage, store, start, on_step, warm)
    images = np.stack([_image(stage, store, generator.vqgan, encoder, text, m) for m in range(stage.copies)])
    trace = Trace(np.array([stage.updates + 1]), embed(encoder, images)[None])
    info = {
        "copies": stage.copies,
        "iteration": stage.updates + 1,
        "similarity": float(similarities(trace, text, stage.copies)[0]),
        "generator": stage.training.key,
        "images": stage.images,
        "seconds": time.perf_counter() - began,
    }
    store.put(stage.key, {"images.safetensors": arrays_bytes({"images": images})}, info)
    return generator


def _trained(
    stage: VQGANClipStage,
    store: Store,
    start: Callable[[], Generator],
    on_step: Callable[[int, float], None],
    warm: Generator | None,
) -> Generator:
    """The generator after exactly ``updates`` updates: in memory, or from the nearest checkpoint before."""
    if warm is not None and warm.iteration == stage.updates:
        return warm
    key = stage.training.key
    updates = max((u for u in checkpoints(store, key) if u <= stage.updates), default=0)
    generator = restored(store, key, updates, start) if updates else start()
    began = time.perf_counter()
    if replayed := generator.advance(stage.updates):
        on_step(len(replayed), time.perf_counter() - began)
    return generator


def _image(stage: VQGANClipStage, store: Store, vqgan: VQGAN, encoder: Encoder, text: np.ndarray, m: int) -> np.ndarray:
    """Image m uint8 (R, R, 3), read or made."""
    part = f"{stage.images}/image-{m:05d}"
    if not store.has(part):
        training = stage.training
        side = training.config.resolution // training.config.vqgan.downsampling
        made = optimise(vqgan, encoder, text, stage.config, side, training.seed, m)
        store.put(part, {"image.safetensors": arrays_bytes(made._asdict())}, {"loss": float(made.losses[-1])})
    return store.get(part).arrays("image.safetensors")["image"]
