"""The cell kind ``latents``: how the latents of a trained generator are distributed (Fig. 10).

A row describes a generator at one declared L. Variants that differ in the prompt, the selection, the number of copies,
the detail or later augmentation share that generator, and thus one row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from goodshot.components.metrics.declared import shown_in
from goodshot.components.metrics.detection import MetricValue
from goodshot.components.metrics.latents import LATENTS
from goodshot.runner.arms import AddedImages, Planner, SeededSupport, Variant
from goodshot.runner.arms.text import generation_of, plan_image_set, plan_prompt, plan_training
from goodshot.runner.cells.base import Cell, CellKind, CellStage, Measured, cell_key
from goodshot.runner.stages.base import Context, Stage
from goodshot.runner.stages.latents import LatentsStage, latents_stage
from goodshot.runner.store.fingerprint import canonical

METRICS = tuple(metric.name for metric in shown_in("latents"))
OF_IMAGES = frozenset({"prompt_kind", "select", "detail", "post_augment"})
"""Columns of the images of a variant, which say nothing about the generator."""


@dataclass(frozen=True, kw_only=True)
class LatentDistributionStage(CellStage):
    """Read what the stage with the key ``latents`` has measured."""

    kind = "latent_distribution"
    title = "latent distribution"
    version = 1
    takes = "cpu"
    computes = False

    latents: str

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of the generator and its L."""
        return {name: value for name, value in super().columns.items() if name not in OF_IMAGES}

    @property
    def inputs(self) -> tuple[str, ...]:
        """The support's shard, and the measurement."""
        return (self.support.shard, self.latents)

    def disk(self, wanted: Sequence[Stage]) -> int:
        """The bytes of its row and its metrics."""
        return 8192

    def run(self, context: Context, wanted: Sequence[Stage]) -> Measured:
        """The measured values, as columns and as long metrics."""
        values = context.store.get(self.latents).info["values"]
        return Measured(values, metrics=[MetricValue(LATENTS, name, float(value)) for name, value in values.items()])


class Latents(CellKind):
    """The distribution of a generator's sampled latents, for arms whose images such a generator samples."""

    name = "latents"
    title = "latent distribution"
    stages = (LatentsStage, LatentDistributionStage)
    tested = False
    columns = MappingProxyType(dict.fromkeys(METRICS, pa.float64()))
    metrics = METRICS

    def wants(self, variant: Variant) -> bool:
        """Whether the variant's images are samples of a trained generator."""
        return variant.generation is not None and variant.arm.has_trace

    def plan(
        self, planner: Planner, cell: Cell, seeded: SeededSupport, added: AddedImages, declared: Mapping[str, Any]
    ) -> LatentDistributionStage:
        """Plan the measurement, and the cell. The generator and its L identify it."""
        generation = generation_of(cell.variant)
        training = plan_training(planner, seeded, generation)
        image_set = plan_image_set(planner, training, generation, plan_prompt(planner, seeded))
        stage = planner.add(latents_stage(training, image_set.id, generation.point.iterations))
        kind, version = LatentDistributionStage.kind, LatentDistributionStage.version
        return LatentDistributionStage(
            key=cell_key(kind, version, canonical({}, self.name), {"latents": stage.key}),
            resources=planner.study.resources,
            cell=cell,
            study=planner.study.name,
            support=seeded.support,
            # The row does not describe these images.
            added=replace(added, identity={}, inputs=(), image_set=None, prompt=None),
            declared=declared,
            latents=stage.id,
        )
