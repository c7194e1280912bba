"""The cell kind ``segmentation``: a U-Net that is trained on made defects and tested on real ones (Table 3)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from goodshot.components.segmenters.config import SegmenterConfig
from goodshot.runner.arms import AddedImages, Planner, SeededSupport
from goodshot.runner.cells.base import Cell, Measured
from goodshot.runner.cells.defective import DefectCellKind, DefectCellStage, shows_pictures
from goodshot.runner.cells.detection import Detection, keep_pictures, score_rows
from goodshot.runner.declaration.fields import Declaration
from goodshot.runner.stages.base import Context, SharedValue, Stage, Work

if TYPE_CHECKING:
    import numpy as np

METRICS = ("pixel_auroc", "pixel_ap", "pixel_f1_max", "image_auroc", "image_ap", "image_f1_max")
"""The six numbers of Table 3."""


@dataclass(frozen=True, kw_only=True)
class SegmentationStage(DefectCellStage):
    """Train a segmenter on made defects and good images, and score the test images."""

    kind = "segmentation"
    title = "segmentation"
    version = 2

    config: SegmenterConfig

    @property
    def reads(self) -> tuple[SharedValue, ...]:
        """The good images, the test images and the validation images."""
        return (self.goods, self.tested, *self.validation_read)

    def work(self, wanted: Sequence[Stage], device: str) -> Sequence[Work]:
        """Training steps."""
        return (Work(self._work_kind(device), self.config.steps),)

    def disk(self, wanted: Sequence[Stage]) -> int:
        """The bytes of its row and metrics, and of a score for each test image."""
        return 8192 + 100 * len(self.split.test_ids)

    def memory_kind(self) -> str:
        """The kind of work of a step."""
        return self._work_kind("cuda")

    def run(self, context: Context, wanted: Sequence[Stage]) -> Measured:
        """Train, choose a checkpoint on the validation images, score and measure."""
        from goodshot.components.metrics.detection import evaluate
        from goodshot.components.segmenters.training import Segmenter, Validation

        goods = context.read(self.goods)
        made, facts = self.made(context)
        real = self.validation(context)
        began = time.perf_counter()
        segmenter = Segmenter(
            made.images, goods, self.config, self.cell.seed, Validation(real) if real else None, context.device
        )
        segmenter.advance()
        fitted = time.perf_counter()
        test = self.test_images(context)
        scores = segmenter.score(test.images)
        facts |= {"seconds_fit": fitted - began, "seconds_score": time.perf_counter() - fitted}
        context.measured(self._work_kind(context.device), facts["seconds_fit"], self.config.steps)
        metrics = evaluate(scores, test.labels, test.masks, test.defect_types, test.defects)
        whole = {value.metric: value.value for value in metrics.values if value.subset == "all"}
        if self.keeps_pictures:
            keep_pictures(self.fingerprint, test, scores, None, context.store)
        columns = {**{name: whole.get(name, math.nan) for name in METRICS}, **facts, "n_test": len(test)}
        return Measured(columns, list(score_rows(test, scores)), metrics.values)

    def _work_kind(self, device: str) -> str:
        config = self.config
        return f"segment|{config.channels}|{config.levels}|{config.resolution}|{config.batch}|{device}"


class Segmentation(DefectCellKind):
    """The study's segmenter for each support and each arm with defective images."""

    name = "segmentation"
    title = "segmentation"
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
        """As for detections: the scores reproduce the image AUROC."""
        return Detection().problems(row, labels, scores, has_metrics)

    def plan(
        self, planner: Planner, cell: Cell, seeded: SeededSupport, added: AddedImages, declared: Mapping[str, Any]
    ) -> SegmentationStage:
        """Plan a cell. The segmenter's options identify it too."""
        config = planner.study.synthesis.segmenter
        declared = {**declared, "image_size": config.resolution}
        options = {"segmenter": config.stated()}
        return self.planned(
            SegmentationStage, options, planner, cell, seeded, added, declared, side=config.resolution, config=config,
            keeps_pictures=shows_pictures(planner, cell),
        )  # fmt: skip
