"""The Ray actor that holds one category's generators."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray

from components.generator.generator import Generator
from components.generator.start import check_start
from runner.cluster import start_worker
from runner.image_sets import ImageSets
from runner.plan import GeneratorStage
from runner.stages import cached_encoder
from runner.store import Store

WARM_GENERATORS = 2


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

    def make(self, stage: GeneratorStage, originals: Sequence[np.ndarray], broker: Any) -> int:
        """Commit the stage's missing image sets. Returns the generator steps executed."""

        def start() -> Generator:
            check_start(stage.config.init, stage.start_sha256)
            return Generator(originals, stage.config, stage.vq_weight, stage.seed, stage.augmentation, self.device)

        def on_step(steps: int, seconds: float) -> None:
            broker.add_steps.remote(stage.flight, steps, seconds)

        encoder = cached_encoder(stage.encoder, self.device)
        making = ImageSets(stage, self.store, encoder, start, on_step, warm=self._warm.pop(stage.key, None))
        steps = making.make()
        if making.generator is not None:
            self._warm[stage.key] = making.generator
        while len(self._warm) > WARM_GENERATORS:
            self._warm.popitem(last=False)
        return steps
