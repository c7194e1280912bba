"""A trained generator for the stages that need the network itself, not its images."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from goodshot.runner.stages.base import Context
from goodshot.runner.stages.training import TrainingStage

if TYPE_CHECKING:
    from goodshot.components.generator.generator import Generator


def trained_generator(training: TrainingStage, updates: int, context: Context) -> Generator:
    """The generator of a training after exactly ``updates`` updates: from memory, or trained on from a checkpoint.

    A training leaves a checkpoint at each declared L, which is after L − 1 updates. The caller gives the generator back
    by ``context.warm.keep``.
    """
    from goodshot.runner.stages.image_sets import checkpoints, restored

    store, key = context.store, training.key
    warm: Generator | None = context.warm.take(key)
    if warm is not None and warm.iteration == updates:
        return warm
    spec = training.spec(context)
    nearest = max((u for u in checkpoints(store, key) if u <= updates), default=0)

    def start() -> Generator:
        return spec.build(context.device)

    generator = restored(store, key, nearest, start) if nearest else start()
    began = time.perf_counter()
    if replayed := generator.advance(updates):
        context.stepped(generator.iteration, len(replayed), time.perf_counter() - began)
    return generator
