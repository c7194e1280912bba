"""The Ray actor that holds one category's generators.

What it computes with is imported where it runs, as in :mod:`runner.cluster.tasks`.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray

from runner.cluster.connection import start_worker, taken_of_gpu
from runner.plan.costs import Cost, image_cost, step_cost
from runner.plan.plan import GeneratorStage, VQGANClipStage
from runner.store.artifacts import Store

if TYPE_CHECKING:
    import numpy as np

    from components.generator.generator import Generator

WARM_GENERATORS = 2


@dataclass(frozen=True)
class Made:
    """What a stage took: the generator steps executed, on which of Ray's nodes."""

    steps: int
    node: str


@ray.remote(max_restarts=3, max_task_retries=3)
class GeneratorActor:
    """Trains the variance-aware VQGANs of one category and leaves their image sets in the store.

    It keeps the last few generators warm, least recently used out. All state that must survive is in the store, so
    a killed actor restarts, finds the last checkpoint there and goes on.
    """

    def __init__(self, store_uri: str, device: str, threads: int) -> None:
        start_worker(threads)
        self.store, self.device = Store(store_uri), device
        self._warm: OrderedDict[str, Generator] = OrderedDict()

    def make(self, stage: GeneratorStage | VQGANClipStage, originals: Sequence[np.ndarray], broker: Any) -> Made:
        """Commit the stage's missing image sets."""
        from components.generator.generator import Generator
        from components.generator.start import check_start
        from runner.stages.image_sets import ImageSets
        from runner.stages.stages import cached_encoder
        from runner.stages.variation import read_variation
        from runner.stages.vqgan_clip import make_vqgan_clip

        training = stage.training if isinstance(stage, VQGANClipStage) else stage

        def start() -> Generator:
            t = training
            check_start(t.config.init, t.start_sha256)
            head = read_variation(t.variation.key, self.store) if t.variation else None
            return Generator(originals, t.config, t.vq_weight, t.seed, t.augmentation, self.device, head)

        made = 0

        def on_step(steps: int, seconds: float) -> None:
            nonlocal made
            made += steps
            broker.add_steps.remote(training.flight, steps, seconds)

        encoder = cached_encoder(training.encoder, self.device, training.precision)
        warm = self._warm.pop(training.key, None)
        if isinstance(stage, VQGANClipStage):
            generator = make_vqgan_clip(stage, self.store, encoder, start, on_step, warm)
        else:
            began = time.perf_counter()
            making = ImageSets(stage, self.store, encoder, start, on_step, warm, on_left=broker.left.remote)
            making.make()
            beside = time.perf_counter() - began - making.step_seconds
            device = self.device
            broker.add_cost.remote(step_cost(stage, device), Cost(making.step_seconds, making.steps))
            broker.add_cost.remote(image_cost(stage, device), Cost(beside, making.scored_images))
            generator = making.generator
        if generator is not None:
            self._warm[training.key] = generator
        while len(self._warm) > WARM_GENERATORS:
            self._warm.popitem(last=False)
        if (memory := taken_of_gpu(self.device)) is not None:
            broker.add_memory.remote(step_cost(training, self.device), memory)
        return Made(made, ray.get_runtime_context().get_node_id())
