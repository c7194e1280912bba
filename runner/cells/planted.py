"""The objective ``planted``: how well a detector separates normal images from synthetic anomalies (METHOD A4, Labels).

It uses no test image and no test label. The normal images are training photographs outside the cell's support; if there
are none, as with ``shots: full``, they are augmented views of the support.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from goodshot.components.data.crop import margin
from goodshot.components.data.planted_set import PlantedConfig, planted_set
from goodshot.components.data.sample import Sample
from goodshot.components.metrics.detection import ALL, MetricValue

if TYPE_CHECKING:
    from goodshot.components.data.images import RGB
    from goodshot.components.data.shards import Split
    from goodshot.components.detectors.base import Detector

PLANTED_VERSION = 1
SUBSET = "planted"
VIEWS_SEED = 2**32
"""Seed of the augmented views. No cell can have it, so they differ from the views that the arm ``augmented`` adds."""


@dataclass(frozen=True)
class PlantedSet:
    """The planned set of synthetic anomalies of one support.

    config: its numbers of normal and anomalous images.
    ids, content: ids and SHA-256 of the normal images; empty if they are augmented views of the support.
    """

    config: PlantedConfig
    ids: tuple[str, ...]
    content: tuple[str, ...]

    def identity(self) -> dict[str, Any]:
        """The values that identify the set in a fingerprint."""
        return {
            "version": PLANTED_VERSION,
            "config": self.config.model_dump(mode="json"),
            "normals": list(self.content),
        }


def plan_planted(samples: Sequence[Sample], support: Sequence[str], config: PlantedConfig) -> PlantedSet:
    """Plan the set of one support: its normal images are the first ``normals`` other training images by SHA-256.

    Some folders hold a copy of an original under another name; images are compared by content to exclude it.
    """
    support_content = {s.content for s in samples if s.image_id in support}
    others = {s.content: s.image_id for s in samples if s.split == "train" and s.content not in support_content}
    chosen = sorted(others)[: config.normals]
    return PlantedSet(config, tuple(others[sha256] for sha256 in chosen), tuple(chosen))


def planted_images(stage: PlantedSet, read: Callable[[Sequence[str]], list[RGB]], support: Sequence[str]) -> Split:
    """Make the set of synthetic anomalies.

    Args:
        read: reads training images by id, uint8 RGB (S, S, 3).
        support: ids of the cell's originals.
    """
    from goodshot.components.generator.augment import POLICIES, augmented_set

    if stage.ids:
        normals = read(stage.ids)
    else:
        normals = list(augmented_set(read(support), POLICIES["mild"], stage.config.normals, VIEWS_SEED))
    return planted_set(normals, stage.config, seed=0)


def planted_values(
    stage: PlantedSet, detector: Detector, read: Callable[[Sequence[str]], list[RGB]], support: Sequence[str]
) -> tuple[MetricValue, ...]:
    """Make the set of synthetic anomalies, score it, and return its metrics.

    The subset of each value is ``planted`` for the whole set, or ``planted/<kind>`` for one kind of anomaly.

    Args:
        detector: a fitted detector.
        read: reads training images by id, uint8 RGB (S, S, 3) at the detector's size.
        support: ids of the cell's originals.
    """
    from goodshot.components.metrics.detection import evaluate

    labelled = planted_images(stage, read, support)
    scores = detector.score(labelled.images)
    start, side = margin(labelled.masks.shape[1], scores.maps.shape[1]), scores.maps.shape[1]
    crop = slice(start, start + side)
    masks = None if np.isnan(scores.maps).all() else labelled.masks[:, crop, crop]
    metrics = evaluate(scores, labelled.labels, masks, labelled.defect_types)
    return tuple(replace(v, subset=SUBSET if v.subset == ALL else f"{SUBSET}/{v.subset}") for v in metrics.values)


def planted_auroc(values: Sequence[MetricValue]) -> float | None:
    """The image AUROC of the set of synthetic anomalies, for the row's column ``planted``; None without such a set."""
    return next((v.value for v in values if (v.subset, v.metric) == (SUBSET, "image_auroc")), None)
