"""The cell kind ``detection``: train a detector on the originals and the added images, and score the test images."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from goodshot.components.detectors.config import DetectorConfig
from goodshot.components.prompts import object_for
from goodshot.runner.arms import AddedImages, Planner, SeededSupport, arm_of
from goodshot.runner.cells.base import Cell, CellKind, CellStage, Measured, cell_key, pictures_key, train_identity
from goodshot.runner.cells.planted import PlantedSet, plan_planted, planted_auroc, planted_values
from goodshot.runner.declaration.fields import Declaration
from goodshot.runner.stages.base import Context, SharedValue, Stage, Support, Work
from goodshot.runner.stages.need import Need, detector_needs
from goodshot.runner.stages.quality import quality_needs, quality_values
from goodshot.runner.stages.shard import read_support
from goodshot.runner.stages.values import Originals, TestImages, shared_features
from goodshot.runner.store.artifacts import Store, arrays_bytes
from goodshot.runner.store.fingerprint import Canonical, canonical

if TYPE_CHECKING:
    import numpy as np

    from goodshot.components.data.shards import Split
    from goodshot.components.detectors import Detector, Features, Scores
    from goodshot.components.detectors.base import Batch

ROUNDING = 1e-9
"""Largest accepted difference between two computations of the same image AUROC."""
PICTURES = 8
"""Maximum number of test images with anomaly maps, and of added images, that a cell commits for the report."""
ADDED_SIDE = 160
"""Maximum side in pixels of the committed added images."""


@dataclass(frozen=True, kw_only=True)
class DetectionStage(CellStage):
    """Train one detector and score the test images.

    planted: the set of synthetic anomalies that is scored as well, if ``objective`` is ``planted``; None otherwise.
    object_name: the name of the object, for detectors that use it; None for other detectors.
    n_test: the number of test images.
    """

    kind = "detection"
    title = "detection"
    version = 2

    planted: PlantedSet | None = None
    object_name: str | None = None
    n_test: int = 0

    @classmethod
    def needs(cls, study: Declaration) -> Iterator[Need]:
        """The weights of the study's detectors, and the networks of image quality if an arm adds good images."""
        yield from detector_needs(study)
        if any(arm.point_fields and arm.makes == "normal" for arm in map(arm_of, study.arms)):
            yield from quality_needs()

    @property
    def detector(self) -> DetectorConfig:
        """The configuration of the detector."""
        config: DetectorConfig = self.cell.subject
        return config

    @property
    def reads(self) -> tuple[SharedValue, ...]:
        """The originals, the test images and, if the detector can share features, the features of both."""
        test = TestImages(self.support.shard, self.detector.image_size)
        return (Originals(self.support), test, *shared_features(self.support, self.detector))

    def work(self, wanted: Sequence[Stage], device: str) -> Sequence[Work]:
        """Two kinds of work: training, counted in training images, and scoring, counted in test images."""
        images = len(self.support.ids) + self.cell.copies
        return Work(self._fit_kind(device), images), Work(self._score_kind(device), self.n_test)

    def disk(self, wanted: Sequence[Stage]) -> int:
        """The bytes of the cell's row and metrics, and of one score for each test image."""
        return 8192 + 100 * self.n_test

    def memory_kind(self) -> str:
        """The kind of work of training, which needs more GPU memory than scoring."""
        return self._fit_kind("cuda")

    def run(self, context: Context, wanted: Sequence[Stage]) -> Measured:
        """Train, score, and compute the metrics.

        Shared features change no score, but ``seconds_fit`` and ``seconds_score`` do not include their computation.
        """
        import numpy as np

        from goodshot.components.data.crop import centre_crop
        from goodshot.components.detectors import SharesFeatures, build_detector
        from goodshot.components.metrics.detection import evaluate

        originals, test, *features = map(context.read, self.reads)
        extra, facts = self.added_images(context)
        detector = build_detector(self.detector, self.cell.seed, context.device, self.object_name)
        began = time.perf_counter()
        _fit(detector, [image[None] for image in originals], extra, features[0] if features else None)
        fitted = time.perf_counter()
        if features and features[1] is not None and isinstance(detector, SharesFeatures):
            scores = detector.score_features(features[1])
        else:
            scores = detector.score(test.images)
        facts |= {"seconds_fit": fitted - began, "seconds_score": time.perf_counter() - fitted}
        self._report_costs(context, facts, len(test.image_ids))
        test = centre_crop(test, self.detector.crop)  # the detector has cropped its input in the same way
        # Some models of anomalib return image scores only, so there are no anomaly maps to compare with the masks.
        masks = None if np.isnan(scores.maps).all() else test.masks
        metrics = evaluate(scores, test.labels, masks, test.defect_types, test.defects)
        values = list(metrics.values)
        if extra is not None:
            values += quality_values(extra, originals, context)
        if self.planted is not None:
            read = partial(read_training_images, self.support, self.detector.image_size, context.store)
            synthetic_values = planted_values(self.planted, detector, read, self.support.ids)
            values += synthetic_values
            facts["planted"] = planted_auroc(synthetic_values)
        if self.keeps_pictures:
            # The images of an image set are in the store already.
            added = extra if self.added.image_set is None else None
            keep_pictures(self.fingerprint, test, scores, added, context.store)
        columns = {
            "image_auroc": metrics.image_auroc,
            "pixel_auroc": metrics.pixel_auroc,
            "aupro": metrics.aupro,
            **facts,
            "n_test": len(test.image_ids),
        }
        return Measured(columns, list(score_rows(test, scores)), values)

    def _report_costs(self, context: Context, facts: Mapping[str, Any], n_test: int) -> None:
        images = len(self.support.ids) + self.cell.copies
        context.measured(self._fit_kind(context.device), facts["seconds_fit"], images)
        context.measured(self._score_kind(context.device), facts["seconds_score"], n_test)

    def _fit_kind(self, device: str) -> str:
        """The kind of work of training. Steps and epochs are part of it, because its cost may depend on them."""
        d = self.detector
        epochs = d.epochs if d.epoch_images is None else f"{d.epochs} of {d.epoch_images}"
        return f"fit|{d.label}|{d.resolution}|{d.steps}|{epochs}|{device}"

    def _score_kind(self, device: str) -> str:
        """The kind of work of scoring."""
        return f"score|{self.detector.label}|{self.detector.resolution}|{device}"


COLUMNS: Mapping[str, pa.DataType] = {
    "detector": pa.string(),
    "backbone": pa.string(),
    "image_size": pa.int64(),
    "crop": pa.int64(),
    "n_test": pa.int64(),
    "image_auroc": pa.float64(),
    "pixel_auroc": pa.float64(),
    "aupro": pa.float64(),
    "planted": pa.float64(),
    "seconds_fit": pa.float64(),
    "seconds_score": pa.float64(),
}


class Detection(CellKind):
    """A cell trains one detector of the study on one support and one variant of an arm."""

    name = "detection"
    title = "detection"
    stages = (DetectionStage,)
    columns = COLUMNS
    metrics = ("image_auroc", "pixel_auroc", "aupro", "planted")
    made_with = ("detector", "backbone")
    checked = ("n_test", "image_auroc")

    def subjects(self, study: Declaration) -> tuple[DetectorConfig, ...]:
        """The study's detectors."""
        return study.detectors

    def label(self, subject: DetectorConfig) -> str:
        """The detector's label."""
        return subject.label

    def subject_columns(self, subject: DetectorConfig) -> dict[str, Any]:
        """The columns with the label, backbone and sizes of the detector."""
        return {
            "detector": subject.label,
            "backbone": subject.uses_backbone(),
            "image_size": subject.image_size,
            "crop": subject.crop,
        }

    def side(self, subject: DetectorConfig, study: Declaration) -> int:
        """The side to which the detector resizes images."""
        return subject.image_size

    def note(self, subject: DetectorConfig, sizes: Sequence[int]) -> str:
        """A note if a budget in epochs gives arms different numbers of training steps; empty otherwise."""
        fewest, most = subject.steps_on(sizes[0]), subject.steps_on(sizes[-1])
        if subject.epochs is None or fewest == most:
            return ""
        return (
            f"{subject.label}: {subject.epochs} epochs are {fewest} steps with {sizes[0]} training images and {most} "
            f"with {sizes[-1]}; for equally many in every arm give the detector epoch_images: {sizes[-1]}"
        )

    def problems(
        self, row: Mapping[str, Any], labels: np.ndarray, scores: np.ndarray, has_metrics: bool
    ) -> Iterator[str]:
        """Check that each test image has a score, and that the scores reproduce the image AUROC of the row."""
        from goodshot.components.metrics.detection import image_auroc

        if len(scores) != row["n_test"]:
            yield f"has {len(scores)} scores of {row['n_test']} test images"
            return
        recomputed = image_auroc(scores, labels)
        stated = math.nan if row["image_auroc"] is None else row["image_auroc"]
        if not (abs(recomputed - stated) <= ROUNDING or (math.isnan(recomputed) and math.isnan(stated))):
            yield f"says image AUROC {stated:.6f}, and its scores give {recomputed:.6f}"
        if not has_metrics:
            yield "has no metrics"

    def plan(
        self, planner: Planner, cell: Cell, seeded: SeededSupport, added: AddedImages, declared: Mapping[str, Any]
    ) -> DetectionStage:
        """Plan a cell. The detector, the training images, the test images and the seed identify it."""
        study, category = planner.study, seeded.category
        detector: DetectorConfig = cell.subject
        object_name = object_for(cell.category, study.objects) if detector.uses_object_name() else None
        planted = planner.once(_planted, seeded.category.name, seeded.support) if study.objective == "planted" else None
        inputs: dict[str, Any] = {
            "train": planner.once(train_identity, seeded.support),
            "added": added.identity,
            "test": category.test_identity,
        }
        if detector.image_size in category.enlarged:
            # Earlier versions lost these defects when they resized the masks, so their rows have another identity.
            inputs["masks"] = "enlarged"
        if planted is not None:
            inputs["planted"] = planted[1]
        if study.oracle:
            # An oracle study chooses by a test metric, so it must not share rows with studies without that mark.
            inputs["oracle"] = study.objective
        identity = planner.once(_identity, detector, cell.seed, object_name)
        return DetectionStage(
            key=cell_key(DetectionStage.kind, DetectionStage.version, identity, inputs),
            resources=study.resources,
            cell=cell,
            study=study.name,
            support=seeded.support,
            added=replace(added, identity={}),
            declared=declared,
            keeps_pictures=cell.support_seed in (None, study.support_seeds[0]),
            planted=planted[0] if planted else None,
            object_name=object_name,
            n_test=category.n_test,
        )


def _identity(planner: Planner, detector: DetectorConfig, seed: int, object_name: str | None) -> Canonical:
    identity = {**planner.once(_detector_identity, detector), "seed": seed}
    if object_name is not None:
        identity["object_name"] = object_name
    return canonical(identity, "detection")


def _detector_identity(planner: Planner, detector: DetectorConfig) -> dict[str, Any]:
    return detector.identity()


def _planted(planner: Planner, category: str, support: Support) -> tuple[PlantedSet, Canonical]:
    planted = plan_planted(planner.categories[category].samples, support.ids, planner.study.planted)
    return planted, canonical(planted.identity(), "planted")


def _fit(detector: Detector, originals: list[Batch], extra: Batch | None, features: Features | None) -> None:
    from goodshot.components.detectors import SharesFeatures

    added = [] if extra is None else [extra]
    if features is not None and isinstance(detector, SharesFeatures):
        detector.fit_features([features, *map(detector.embed, added)])
    else:
        detector.fit([*originals, *added])


def read_training_images(support: Support, size: int, store: Store, ids: Sequence[str]) -> list[np.ndarray]:
    """Training images of the support's category with the given ids, a list of uint8 RGB (size, size, 3)."""
    return read_support(replace(support, ids=tuple(ids)), store, size)


def score_rows(test: Split, scores: Scores) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table ``scores`` for one cell, without the column ``fingerprint``."""
    for image_id, label, defect_type, score in zip(
        test.image_ids, test.labels, test.defect_types, scores.image, strict=True
    ):
        yield {"image_id": image_id, "label": int(label), "defect_type": defect_type, "score": float(score)}


def keep_pictures(fingerprint: str, test: Split, scores: Scores, added: Batch | None, store: Store) -> None:
    """Commit the image, the mask and the anomaly map of the first test image of each type, beginning with ``good``.

    The choice of test images never depends on the scores.

    Args:
        added: the added images; the first :data:`PICTURES` of them are committed, reduced to :data:`ADDED_SIDE` pixels.
    """
    import numpy as np

    types = sorted(set(test.defect_types), key=lambda t: (t != "good", t))[:PICTURES]
    chosen = [list(test.defect_types).index(t) for t in types]
    arrays = {
        "images": test.images[chosen],
        "masks": test.masks[chosen],
        "maps": scores.maps[chosen].astype(np.float16),
    }
    if added is not None:
        arrays["added"] = _small(added[:PICTURES])
    info = {"image_ids": [test.image_ids[i] for i in chosen]}
    store.put(pictures_key(fingerprint), {"maps.safetensors": arrays_bytes(arrays)}, info)


def _small(images: Batch) -> np.ndarray:
    """Images uint8 (M, H, W, 3) of one size, reduced to at most ``ADDED_SIDE`` pixels."""
    import numpy as np
    from PIL import Image

    small = [Image.fromarray(image) for image in images]
    for image in small:
        image.thumbnail((ADDED_SIDE, ADDED_SIDE))
    return np.stack([np.asarray(image) for image in small])
