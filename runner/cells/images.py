"""The cell kind ``images``: the quality of the images that an arm adds, without a detector (Table 2).

No test image is read, so that a category needs none. Two studies that measure the same pixels, or an ``images`` and a
``detection`` cell, share the artifact ``quality/<fingerprint>``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from goodshot.components.generator.config import detail_side
from goodshot.components.metrics.declared import shown_in
from goodshot.runner.arms import AddedImages, Planner, SeededSupport, Variant
from goodshot.runner.cells.base import Cell, CellKind, CellStage, Measured, cell_key, train_identity
from goodshot.runner.declaration.fields import Declaration
from goodshot.runner.stages.base import Context, SharedValue, Stage, Work
from goodshot.runner.stages.need import Need
from goodshot.runner.stages.quality import QUALITY_VERSION, quality_cost, quality_needs, quality_values
from goodshot.runner.stages.values import Originals
from goodshot.runner.store.fingerprint import canonical

METRICS = tuple(metric.name for metric in shown_in("image_set"))
"""The values of image quality; which of them a row has depends on the networks of the machine that measured it."""


@dataclass(frozen=True, kw_only=True)
class ImagesStage(CellStage):
    """Measure the quality of one image set.

    side: the side in pixels of the images, as far as it is known before they are made.
    """

    kind = "images"
    title = "image quality"
    version = 1
    takes = "cpu"

    side: int

    @classmethod
    def needs(cls, study: Declaration) -> Iterator[Need]:
        """The networks of image quality."""
        return quality_needs()

    @property
    def reads(self) -> tuple[SharedValue, ...]:
        """The originals, which the images are compared with."""
        return (Originals(self.support),)

    def work(self, wanted: Sequence[Stage], device: str) -> Sequence[Work]:
        """The images to measure."""
        return (Work(quality_cost(self.side), self.cell.copies),)

    def disk(self, wanted: Sequence[Stage]) -> int:
        """The bytes of its row and its metrics."""
        return 8192

    def run(self, context: Context, wanted: Sequence[Stage]) -> Measured:
        """Measure the images, or read their values from the store."""
        images, facts = self.added_images(context)
        values = quality_values(images, context.read(Originals(self.support)), context)
        measured = {value.metric: value.value for value in values}
        return Measured({**facts, **measured, "image_size": images.shape[1]}, metrics=values)


class Images(CellKind):
    """The quality of what an arm adds.

    Its rows have the values both as columns, by which variants are averaged over supports and compared, and as long
    metrics, as the rows of ``detection`` cells have them.
    """

    name = "images"
    title = "image quality"
    stages = (ImagesStage,)
    tested = False
    columns = MappingProxyType({**dict.fromkeys(METRICS, pa.float64()), "image_size": pa.int64()})
    metrics = METRICS

    def wants(self, variant: Variant) -> bool:
        """Whether the variant adds images."""
        return super().wants(variant) and variant.copies > 0

    def side(self, subject: Any, study: Declaration) -> int:
        """The largest side of the study's generated images: the images of other arms are made at that size."""
        return max(detail_side(detail, study.generator.resolution) for detail in study.detail)

    def plan(
        self, planner: Planner, cell: Cell, seeded: SeededSupport, added: AddedImages, declared: Mapping[str, Any]
    ) -> ImagesStage:
        """Plan a cell. The originals, the added images and the version of the values identify it."""
        inputs = {"train": planner.once(train_identity, seeded.support), "added": added.identity}
        return ImagesStage(
            key=cell_key(
                ImagesStage.kind, ImagesStage.version, canonical({"quality": QUALITY_VERSION}, self.name), inputs
            ),
            resources=planner.study.resources,
            cell=cell,
            study=planner.study.name,
            support=seeded.support,
            added=replace(added, identity={}),
            declared=declared,
            side=self.side(None, planner.study),
        )
