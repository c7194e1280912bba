"""The objective ``planted``: what a cell's detector makes of defects planted on normal images (METHOD A4, Labels).

No test image and no test label takes part. The normal images are training photographs outside of the cell's support;
where there are none (``full``), augmented views of the support.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from components.data.crop import margin
from components.data.planted_set import PlantedConfig, planted_set
from components.data.sample import Sample
from components.metrics.detection import ALL, MetricValue

if TYPE_CHECKING:
    from components.data.images import RGB
    from components.detectors.base import Detector

PLANTED_VERSION = 1
SUBSET = "planted"
VIEWS_SEED = 2**32
"""Of the augmented views: one that no cell can have, whose views the arm ``augmented`` trains on."""


@dataclass(frozen=True)
class PlantedSet:
    """What a cell's planted set is made of: ids and content of the normal images, none for views of the support."""

    config: PlantedConfig
    ids: tuple[str, ...]
    content: tuple[str, ...]

    def identity(self) -> dict[str, Any]:
        """Plain values for a fingerprint."""
        return {
            "version": PLANTED_VERSION,
            "config": self.config.model_dump(mode="json"),
            "normals": list(self.content),
        }


def plan_planted(samples: Sequence[Sample], support: Sequence[str], config: PlantedConfig) -> PlantedSet:
    """The set of one support: the first ``normals`` other training images, in the order of their SHA-256.

    An image of the support's own content stands under another name in some folders; it is no other image.
    """
    own = {s.sha256 for s in samples if s.image_id in support}
    others = {s.sha256: s.image_id for s in samples if s.split == "train" and s.sha256 not in own}
    chosen = sorted(others)[: config.normals]
    return PlantedSet(config, tuple(others[sha256] for sha256 in chosen), tuple(chosen))


def planted_values(
    stage: PlantedSet, detector: Detector, read: Callable[[Sequence[str]], list[RGB]], support: Sequence[str]
) -> tuple[MetricValue, ...]:
    """Score the planted set. Returns every metric of it, its subsets called ``planted`` and ``planted/<kind>``.

    Args:
        detector: fitted.
        read: ids → images uint8 (S, S, 3) at the detector's size.
        support: ids of the cell's originals.
    """
    from components.generator.augment import POLICIES, augmented_set
    from components.metrics.detection import evaluate

    if stage.ids:
        normals = read(stage.ids)
    else:
        normals = list(augmented_set(read(support), POLICIES["mild"], stage.config.normals, VIEWS_SEED))
    made = planted_set(normals, stage.config, seed=0)
    scores = detector.score(made.images)
    start, side = margin(made.masks.shape[1], scores.maps.shape[1]), scores.maps.shape[1]
    middle = slice(start, start + side)
    masks = None if np.isnan(scores.maps).all() else made.masks[:, middle, middle]
    metrics = evaluate(scores, made.labels, masks, made.defect_types)
    return tuple(replace(v, subset=SUBSET if v.subset == ALL else f"{SUBSET}/{v.subset}") for v in metrics.values)


def planted_auroc(values: Sequence[MetricValue]) -> float | None:
    """The row's column: image AUROC of the planted set; None where none was made."""
    return next((v.value for v in values if (v.subset, v.metric) == (SUBSET, "image_auroc")), None)
