"""The cell kind ``defect_images``: the quality of made defective images, without training anything (Tables 1 and 2)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from goodshot.components.metrics.declared import shown_in
from goodshot.components.metrics.detection import ALL, IMAGE_SET, MetricValue
from goodshot.runner.arms import AddedImages, Planner, SeededSupport, Variant
from goodshot.runner.arms.defective import plan_split
from goodshot.runner.cells.base import Cell, Measured
from goodshot.runner.cells.defective import DefectCellKind, DefectCellStage
from goodshot.runner.declaration.fields import Declaration
from goodshot.runner.stages.base import Context, SharedValue, Stage, Work
from goodshot.runner.stages.defects import GoodImages
from goodshot.runner.stages.need import Need
from goodshot.runner.stages.quality import quality_needs

if TYPE_CHECKING:
    from goodshot.runner.arms.defective import DefectArm

METRICS = tuple(metric.name for metric in shown_in("defect_images"))
"""The values of the images' quality; which of them a row has depends on the networks of the machine."""


@dataclass(frozen=True, kw_only=True)
class DefectImagesStage(DefectCellStage):
    """Measure the first ``measured`` of the ``count`` images of a defect set."""

    kind = "defect_images"
    title = "defect image quality"
    version = 1

    measured: int
    count: int

    @classmethod
    def needs(cls, study: Declaration) -> Iterator[Need]:
        """The networks of image quality."""
        return quality_needs()

    @property
    def reads(self) -> tuple[SharedValue, ...]:
        """The good images that defects were made on, and the real defective ones."""
        return (GoodImages(self.support, self.side), self.split.fit)

    def work(self, wanted: Sequence[Stage], device: str) -> Sequence[Work]:
        """The images to measure."""
        return (Work(f"defect_quality|{self.side}|{device}", min(self.measured, self.count)),)

    def disk(self, wanted: Sequence[Stage]) -> int:
        """The bytes of its row and its metrics."""
        return 8192

    def run(self, context: Context, wanted: Sequence[Stage]) -> Measured:
        """Measure IS, IC-LPIPS and the preservation of the background."""
        from goodshot.components.metrics.synthesis import synthesis_quality

        goods, real = map(context.read, self.reads)
        made = self.defective.read(context)
        images = made.images.of(range(min(self.measured, len(made.images))))
        owners = [] if made.goods is None else made.goods[: len(images)].tolist()
        began = time.perf_counter()
        found = synthesis_quality(images, goods, owners, real)
        values = [
            MetricValue(IMAGE_SET if subset == ALL else subset, name, value)
            for subset, quality in found.items()
            for name, value in quality.items()
        ]
        context.measured(f"defect_quality|{self.side}|{context.device}", time.perf_counter() - began, len(images))
        columns = {name: value for name, value in found[ALL].items() if name in METRICS}
        return Measured({**columns, **made.columns, "image_size": self.side}, metrics=values)


class SynthesisQuality(DefectCellKind):
    """The quality of each arm's defective images."""

    name = "defect_images"
    title = "defect image quality"
    stages = (DefectImagesStage,)
    tested = False
    needs_types = True
    columns = MappingProxyType({**dict.fromkeys(METRICS, pa.float64()), "image_size": pa.int64()})
    metrics = METRICS

    def wants(self, variant: Variant) -> bool:
        """Whether the variant makes images."""
        return super().wants(variant) and variant.copies > 0

    def side(self, subject: Any, study: Declaration) -> int:
        """The side of the images."""
        return study.synthesis.side

    def plan(
        self, planner: Planner, cell: Cell, seeded: SeededSupport, added: AddedImages, declared: Mapping[str, Any]
    ) -> DefectImagesStage:
        """Plan a cell. The number of measured images identifies it too."""
        study, arm = planner.study.synthesis, cast("DefectArm", cell.arm)
        count = arm.count(cell.variant, plan_split(planner, cell.category))
        options = {"measured": study.measured}
        return self.planned(
            DefectImagesStage, options, planner, cell, seeded, added, declared,
            side=study.side, measured=study.measured, count=count,
        )  # fmt: skip
