"""The cell kind ``both``: both systems on the same test images, side by side and as one.

A detector learns the good images, with those that a good-image arm adds; a segmenter learns the defects that a
defect arm makes. Their scores are combined with a weight that is chosen on synthetic anomalies, never on test images.
Neither paper has this.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from goodshot.components.data.layout import Finding
from goodshot.components.data.support import select_support
from goodshot.components.detectors.config import DetectorConfig
from goodshot.components.errors import BadInput
from goodshot.components.metrics.detection import MetricValue
from goodshot.components.prompts import object_for
from goodshot.runner.arms import AddedImages, Arm, Planner, SeededSupport, Variant, arm_of
from goodshot.runner.cells.base import Cell, Measured
from goodshot.runner.cells.defective import DefectCellKind, DefectCellStage, plan_segmenter, shows_pictures
from goodshot.runner.cells.detection import Detection, keep_pictures, read_training_images, score_rows
from goodshot.runner.cells.planted import PlantedSet, plan_planted, planted_images
from goodshot.runner.data.catalogue import Category
from goodshot.runner.declaration.fields import Declaration
from goodshot.runner.stages.base import Context, SharedValue, Stage, Work
from goodshot.runner.stages.need import Need, detector_needs
from goodshot.runner.stages.segmenter import SegmenterStage
from goodshot.runner.stages.values import Originals

if TYPE_CHECKING:
    from goodshot.components.data.shards import Split
    from goodshot.components.detectors.base import Scores

FUSED = ("image_auroc", "pixel_auroc", "image_ap", "pixel_ap")
ALONE = ("image_auroc", "pixel_ap")
"""The metrics that are shown for each system alone."""
SYSTEMS = ("detector", "segmenter")
METRICS = (*FUSED, *(f"{metric}_{system}" for metric in ALONE for system in SYSTEMS))


@dataclass(frozen=True, slots=True)
class System:
    """A detector, and the variant whose good images it learns in addition to the originals."""

    detector: DetectorConfig
    good: Variant

    @property
    def label(self) -> str:
        """The detector's label and, if any are added, the good images: ``patchcore-lite0 on generated +20``."""
        added = f" on {self.good.label}" if self.good.copies else ""
        return f"{self.detector.label}{added}"


@dataclass(frozen=True, kw_only=True)
class BothStage(DefectCellStage):
    """Fit a detector, choose its combination with a trained segmenter, and score the test images by all three.

    good: the planned images that are added to the originals.
    planted: the synthetic anomalies by which scales and weight are chosen.
    """

    kind = "both"
    title = "both systems"
    version = 2

    good: AddedImages
    segmenter: SegmenterStage
    planted: PlantedSet
    object_name: str | None

    @classmethod
    def needs(cls, study: Declaration) -> Iterator[Need]:
        """The detectors' weights."""
        return detector_needs(study)

    @property
    def system(self) -> System:
        """The detector with its good images."""
        system: System = self.cell.subject
        return system

    @property
    def images(self) -> tuple[str, ...]:
        """The shard, and the stages that the defective and the good images need."""
        return tuple(dict.fromkeys((*super().images, *self.good.inputs)))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The shard, the segmenter, and the stages that the good images need."""
        return tuple(dict.fromkeys((self.support.shard, self.segmenter.id, *self.good.inputs)))

    @property
    def reads(self) -> tuple[SharedValue, ...]:
        """The originals and the test images."""
        return (Originals(self.support), self.tested)

    def work(self, wanted: Sequence[Stage], device: str) -> Sequence[Work]:
        """One cell."""
        return (Work(self._work_kind(device), 1),)

    def disk(self, wanted: Sequence[Stage]) -> int:
        """The bytes of its row and metrics, and of a score for each test image."""
        return 16384 + 100 * len(self.split.test_ids)

    def memory_kind(self) -> str:
        """The kind of work of the cell."""
        return self._work_kind("cuda")

    def run(self, context: Context, wanted: Sequence[Stage]) -> Measured:
        """Fit the detector, choose the combination, and measure each system alone and both together."""
        from goodshot.components.metrics.fusing import choose_fusion, resized_maps

        began = time.perf_counter()
        detector, (segmenter, learned_from) = self._detector(context), self.segmenter.trained(context)
        read = partial(read_training_images, self.support, self.side, context.store)
        synthetic = planted_images(self.planted, read, self.support.ids)
        known, learned = (system.score(synthetic.images) for system in (detector, segmenter))
        fusion = choose_fusion(known, learned, synthetic.labels.astype(np.bool_), at_size(synthetic.masks, known))
        test = self.test_images(context)
        alone = [system.score(test.images) for system in (detector, segmenter)]
        fused = fusion(*alone)
        # A pixel metric depends on the size of the maps, so both systems and their combination use one size.
        detected, segmented = alone
        alone = [detected, replace(segmented, maps=resized_maps(segmented.maps, detected.maps.shape[1:]))]
        seconds = time.perf_counter() - began
        context.measured(self._work_kind(context.device), seconds, 1)
        if self.keeps_pictures:
            keep_pictures(self.fingerprint, test, fused, None, context.store)
        values = _metrics(fused, test)
        whole = _whole(values)
        columns: dict[str, Any] = {name: whole.get(name, math.nan) for name in FUSED}
        for system, scores in zip(SYSTEMS, alone, strict=True):
            own = _metrics(scores, test)
            columns |= {f"{metric}_{system}": _whole(own).get(metric, math.nan) for metric in ALONE}
            values += [MetricValue(f"{system}/{v.subset}", v.metric, v.value, v.low, v.high) for v in own]
        columns |= {"weight_image": fusion.image.weight, "weight_pixel": fusion.maps.weight}
        columns |= {**learned_from["made"], "seconds_fit": seconds, "n_test": len(test)}
        return Measured(columns, list(score_rows(test, fused)), values)

    def _detector(self, context: Context) -> Any:
        from goodshot.components.detectors import build_detector

        system = self.system
        extra, _ = system.good.arm.images(system.good, self.good, self.support, self.cell.seed, context)
        detector = build_detector(system.detector, self.cell.seed, context.device, self.object_name)
        originals = [image[None] for image in context.read(Originals(self.support))]
        detector.fit([*originals, *([] if extra is None else [extra])])
        return detector

    def _work_kind(self, device: str) -> str:
        detector = self.system.detector
        return f"both|{detector.label}|{detector.resolution}|{self.segmenter.config.resolution}|{device}"


class Both(DefectCellKind):
    """Each detector of the study with each of its good-image variants, beside the segmenter of each defect arm."""

    name = "both"
    title = "both systems"
    stages = (SegmenterStage, BothStage)
    columns = MappingProxyType(
        {
            **dict.fromkeys((*METRICS, "weight_image", "weight_pixel", "seconds_fit"), pa.float64()),
            **dict.fromkeys(("image_size", "n_test"), pa.int64()),
            **dict.fromkeys(("detector", "backbone"), pa.string()),
        }
    )
    metrics = METRICS
    made_with = Detection.made_with
    needed = "an arm of good images, such as original, beside the defective ones"
    checked = Detection.checked

    def findings(self, study: Declaration, category: Category) -> tuple[Finding, ...]:
        """A finding if every training photograph is an original, so that none remains to choose the combination by."""
        if len(select_support(category.train_ids, study.shots_of(category.name), 0)) < len(category.train_ids):
            return ()
        problem = (
            "all its training photographs are originals, so that both systems are combined by augmented views of "
            "photographs that the detector has seen"
        )
        return (Finding("noted", Path(category.name), problem, "fewer shots leave some to choose by"),)

    def uses(self, arm: Arm) -> bool:
        """Always true: good images are for the detector, defective ones for the segmenter."""
        return True

    def subjects(self, study: Declaration) -> tuple[System, ...]:
        """The detectors, each with the originals alone and with what each good-image arm adds."""
        good = [
            variant for name in study.arms if (arm := arm_of(name)).makes == "normal" for variant in arm.variants(study)
        ]
        return tuple(System(detector, variant) for detector in study.detectors for variant in dict.fromkeys(good))

    def label(self, subject: System) -> str:
        """The detector and the good images."""
        return subject.label

    def subject_columns(self, subject: System) -> dict[str, Any]:
        """The detector with its good images, its backbone and its size."""
        detector = subject.detector
        return {"detector": subject.label, "backbone": detector.uses_backbone(), "image_size": detector.image_size}

    def side(self, subject: System, study: Declaration) -> int:
        """The side to which the detector resizes images."""
        return subject.detector.image_size

    def problems(
        self, row: Mapping[str, Any], labels: np.ndarray, scores: np.ndarray, has_metrics: bool
    ) -> Iterator[str]:
        """Check that the fused scores reproduce the image AUROC of the row."""
        return Detection().problems(row, labels, scores, has_metrics)

    def plan(
        self, planner: Planner, cell: Cell, seeded: SeededSupport, added: AddedImages, declared: Mapping[str, Any]
    ) -> BothStage:
        """Plan a cell. Detector, good images, segmenter and synthetic anomalies identify it too.

        Raises:
            BadInput: the detector crops images, so that its maps are not those of the segmenter's images.
        """
        study, system = planner.study, cell.subject
        detector: DetectorConfig = system.detector
        if detector.crop is not None:
            raise BadInput(
                f"cells: both compares maps of whole images, and {detector.label} crops them; leave crop out"
            )
        good = planner.once(_good_images, system.good, seeded, detector.image_size)
        planted = plan_planted(seeded.category.samples, seeded.support.ids, study.planted)
        object_name = object_for(cell.category, study.objects) if detector.uses_object_name() else None
        options = {
            "detector": detector.identity(),
            "object_name": object_name,
            "good": dict(good.identity),
            "segmenter": study.synthesis.segmenter.stated(),
            "planted": planted.identity(),
        }
        return self.planned(
            BothStage, options, planner, cell, seeded, added, declared, side=detector.image_size, good=good,
            segmenter=plan_segmenter(planner, cell, seeded, added), planted=planted, object_name=object_name,
            keeps_pictures=shows_pictures(planner, cell),
        )  # fmt: skip


def at_size(masks: np.ndarray, scores: Scores) -> np.ndarray:
    """Masks (T, S, S) at the size of the maps (T, h, w): a pixel is marked if any mask pixel in it is."""
    import torch
    import torch.nn.functional as F

    height, width = scores.maps.shape[1:]
    if masks.shape[1:] == (height, width):
        return masks
    tensor = torch.from_numpy(masks).float()[:, None]
    resized: np.ndarray = (F.adaptive_max_pool2d(tensor, (height, width))[:, 0] > 0).numpy()
    return resized


def _good_images(planner: Planner, good: Variant, seeded: SeededSupport, side: int) -> AddedImages:
    return good.arm.plan(planner, good, seeded, side)


def _metrics(scores: Scores, test: Split) -> list[MetricValue]:
    from goodshot.components.metrics.detection import evaluate

    masks = at_size(test.masks, scores)
    same = masks.shape == test.masks.shape
    return list(evaluate(scores, test.labels, masks, test.defect_types, test.defects if same else None).values)


def _whole(values: Sequence[MetricValue]) -> dict[str, float]:
    return {value.metric: value.value for value in values if value.subset == "all"}
