"""The cell kind ``segmentation``: localisation of real defects by a U-Net that learned made ones (Table 3)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from goodshot.runner.arms import AddedImages, Planner, SeededSupport
from goodshot.runner.cells.base import Cell, Measured
from goodshot.runner.cells.defective import DefectCellKind, DefectCellStage, plan_segmenter, shows_pictures
from goodshot.runner.cells.detection import Detection, keep_pictures, score_rows
from goodshot.runner.declaration.fields import Declaration
from goodshot.runner.stages.base import Context, SharedValue, Stage, Work
from goodshot.runner.stages.segmenter import SegmenterStage

if TYPE_CHECKING:
    import numpy as np

METRICS = ("pixel_auroc", "pixel_ap", "pixel_f1_max", "image_auroc", "image_ap", "image_f1_max")
"""The six numbers of Table 3."""


@dataclass(frozen=True, kw_only=True)
class SegmentationStage(DefectCellStage):
    """Score the test images by a trained segmenter."""

    kind = "segmentation"
    title = "segmentation"
    version = 2

    segmenter: SegmenterStage

    @property
    def inputs(self) -> tuple[str, ...]:
        """The shard and the segmenter, which needs the images."""
        return (self.support.shard, self.segmenter.id)

    @property
    def reads(self) -> tuple[SharedValue, ...]:
        """The test images."""
        return (self.tested,)

    def work(self, wanted: Sequence[Stage], device: str) -> Sequence[Work]:
        """The test images."""
        return (Work(self._work_kind(device), len(self.split.test_ids)),)

    def disk(self, wanted: Sequence[Stage]) -> int:
        """The bytes of its row and metrics, and of a score for each test image."""
        return 8192 + 100 * len(self.split.test_ids)

    def memory_kind(self) -> str:
        """The kind of work of an image."""
        return self._work_kind("cuda")

    def run(self, context: Context, wanted: Sequence[Stage]) -> Measured:
        """Score and measure."""
        from goodshot.components.metrics.detection import evaluate

        segmenter, known = self.segmenter.trained(context)
        test = self.test_images(context)
        began = time.perf_counter()
        scores = segmenter.score(test.images)
        seconds = time.perf_counter() - began
        context.measured(self._work_kind(context.device), seconds, len(test))
        facts = {**known["made"], "seconds_fit": known["seconds"], "seconds_score": seconds}
        metrics = evaluate(scores, test.labels, test.masks, test.defect_types, test.defects)
        whole = {value.metric: value.value for value in metrics.values if value.subset == "all"}
        if self.keeps_pictures:
            keep_pictures(self.fingerprint, test, scores, None, context.store)
        columns = {**{name: whole.get(name, math.nan) for name in METRICS}, **facts, "n_test": len(test)}
        return Measured(columns, list(score_rows(test, scores)), metrics.values)

    def _work_kind(self, device: str) -> str:
        config = self.segmenter.config
        return f"segmented|{config.channels}|{config.levels}|{config.resolution}|{device}"


class Segmentation(DefectCellKind):
    """The study's segmenter for each support and each arm with defective images."""

    name = "segmentation"
    title = "segmentation"
    stages = (SegmenterStage, SegmentationStage)
    columns = MappingProxyType(
        {
            **dict.fromkeys((*METRICS, "seconds_fit", "seconds_score"), pa.float64()),
            **dict.fromkeys(("image_size", "n_test"), pa.int64()),
        }
    )
    metrics = METRICS
    checked = Detection.checked

    def side(self, subject: Any, study: Declaration) -> int:
        """The side of the segmenter's input."""
        return study.synthesis.segmenter.resolution

    def problems(
        self, row: Mapping[str, Any], labels: np.ndarray, scores: np.ndarray, has_metrics: bool
    ) -> Iterator[str]:
        """Check that the scores reproduce the image AUROC of the row."""
        return Detection().problems(row, labels, scores, has_metrics)

    def plan(
        self, planner: Planner, cell: Cell, seeded: SeededSupport, added: AddedImages, declared: Mapping[str, Any]
    ) -> SegmentationStage:
        """Plan a cell. The segmenter's options identify it too."""
        config = planner.study.synthesis.segmenter
        declared = {**declared, "image_size": config.resolution}
        options = {"segmenter": config.stated()}
        return self.planned(
            SegmentationStage, options, planner, cell, seeded, added, declared, side=config.resolution,
            segmenter=plan_segmenter(planner, cell, seeded, added), keeps_pictures=shows_pictures(planner, cell),
        )  # fmt: skip
