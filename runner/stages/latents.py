"""The stage ``latents``: the distribution of the latents that a trained generator samples (Fig. 10).

It measures the network after L − 1 updates, from which the set of a declared L is sampled, and not that of the chosen
iteration: a training keeps its checkpoints at declared L only, and the decoder of any other iteration is gone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from goodshot.runner.stages.base import Context, SharedValue, Stage, Work
from goodshot.runner.stages.training import TrainingStage
from goodshot.runner.stages.values import Originals
from goodshot.runner.store.artifacts import Store, arrays_bytes
from goodshot.runner.store.fingerprint import fingerprint

SAMPLES = 20
"""Number of samples that are measured, whatever ``copies`` is, so that studies can be compared."""
FILE = "latents.safetensors"


@dataclass(frozen=True)
class LatentFigures:
    """The data for a figure of one generator's latents.

    counts: the histogram of the standardised latents, (B,), between :data:`goodshot.components.metrics.latents.EDGES`.
    samples, views: the first two principal components of the samples (M, 2) and of the views' codes (V, 2).
    explained: the share of the variance that each component has, (2,).
    """

    counts: np.ndarray
    samples: np.ndarray
    views: np.ndarray
    explained: np.ndarray


@dataclass(frozen=True, kw_only=True)
class LatentsStage(Stage):
    """Measure the latents of ``training`` after ``updates`` updates.

    trained: id of an image set whose training makes these updates.
    """

    kind = "latents"
    title = "latents"
    version = 1
    takes = "generator"

    training: TrainingStage
    trained: str
    updates: int

    @property
    def inputs(self) -> tuple[str, ...]:
        """The image set of L, with which the training commits its checkpoint."""
        return (self.trained,)

    @property
    def reads(self) -> tuple[SharedValue, ...]:
        """The support's originals."""
        return (Originals(self.training.support),)

    @property
    def home(self) -> str:
        """The home of the training, whose process may still hold the network."""
        return self.training.home

    def work(self, wanted: Sequence[Stage], device: str) -> Sequence[Work]:
        """One measurement."""
        return (Work(self._work_kind(device), 1),)

    def disk(self, wanted: Sequence[Stage]) -> int:
        """The bytes of a histogram and of two components of each sample and view."""
        return 8192

    def memory_kind(self) -> str:
        """The kind of a training step, which needs more memory than sampling."""
        return self.training.step_kind("cuda")

    def run(self, context: Context, wanted: Sequence[Stage]) -> None:
        """Sample and measure; commit the values, the histogram and the principal components."""
        from goodshot.components.generator.latent import VARIANCE_FLOOR
        from goodshot.components.metrics.latents import histogram, latent_values, principal_components, standardised
        from goodshot.runner.stages.trained import trained_generator

        began = time.perf_counter()
        generator = trained_generator(self.training, self.updates, context)
        samples, variance, codes = (part.cpu().numpy() for part in generator.latents(SAMPLES))
        components = principal_components(samples, codes)
        arrays = {"counts": histogram(standardised(samples)), **components}
        info = {
            "values": latent_values(samples, variance, codes, VARIANCE_FLOOR),
            "generator": self.training.key,
            "updates": self.updates,
        }
        context.store.put(self.key, {FILE: arrays_bytes(arrays)}, info)
        context.measured(self._work_kind(context.device), time.perf_counter() - began, 1)
        context.warm.keep(self.training.key, generator)

    def _work_kind(self, device: str) -> str:
        return f"latents|{self.training.image_kind(device)}"


def latents_stage(training: TrainingStage, trained: str, iterations: int) -> LatentsStage:
    """The stage that measures the network from which the set of L = ``iterations`` is sampled."""
    options = {"samples": SAMPLES, "updates": iterations - 1}
    identity = fingerprint(LatentsStage.kind, LatentsStage.version, options, {"generator": training.key})
    return LatentsStage(
        key=f"latents/{identity}",
        resources=training.resources,
        training=training,
        trained=trained,
        updates=iterations - 1,
    )


def read_latents(store: Store, key: str) -> LatentFigures:
    """The histogram and the components at the key of a stage. Raises GoodshotError if the store lacks them."""
    return LatentFigures(**store.get(key).arrays(FILE))
