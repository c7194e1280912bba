"""Image AUROC, pixel AUROC and AUPRO of one test set, from raw scores.

T test images, h × w the map's size, P = T · h · w pixels. All three are exact, ties included, and cost O(P
log P).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from components.detectors.base import Scores
from components.errors import BadInput, GoodshotError


@dataclass(frozen=True)
class DetectionMetrics:
    """One test set's values in [0, 1]; NaN where the set does not define one (one class only, no masks)."""

    image_auroc: float
    pixel_auroc: float
    aupro: float


def evaluate(scores: Scores, labels: ArrayLike, masks: NDArray[np.bool_] | None) -> DetectionMetrics:
    """Return the three metrics of raw `scores`.

    labels: (T,), true or 1 for anomalous. masks: bool (T, h, w) at the maps' size, all false for a good
    image; None for a dataset without masks, whose pixel metrics are NaN.
    """
    auroc = image_auroc(scores.image, labels)
    if masks is None:
        return DetectionMetrics(auroc, float("nan"), float("nan"))
    return DetectionMetrics(auroc, pixel_auroc(scores.maps, masks), aupro(scores.maps, masks))


def image_auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the area under the ROC curve: P(anomalous > good) + ½ P(equal). Equal to scikit-learn's.

    scores: (T,), larger is more anomalous, any scale. labels: (T,), true or 1 for anomalous. NaN where only
    one class is present. Raises `GoodshotError` on a non-finite score, `BadInput` where the lengths differ or
    a label is neither 0 nor 1.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise BadInput(f"scores and labels must be (T,) alike; got {scores.shape} and {labels.shape}")
    _require_finite(scores, "image scores")
    return _auroc(scores, _binary(labels))


def pixel_auroc(maps: NDArray[Any], masks: NDArray[np.bool_]) -> float:
    """Return the AUROC over all pixels of all images, maps and masks (T, h, w); NaN for one class only."""
    _check_maps(maps, masks)
    return _auroc(maps.ravel(), _binary(masks).ravel())


def aupro(maps: NDArray[Any], masks: NDArray[np.bool_], max_fpr: float = 0.3) -> float:
    """Return the area under the per-region overlap curve up to `max_fpr`, divided by it (Bergmann 2020).

    At each threshold: the share of every defect region that is found, averaged over all regions (8-connected
    components of each mask), against the share of normal pixels (outside every mask, of all images) that is
    flagged. Points lie at each distinct score and are joined by straight lines, also where the limit cuts
    one.

    maps, masks: (T, h, w). NaN where there is no region or no normal pixel.
    """
    _check_maps(maps, masks)
    if not 0 < max_fpr <= 1:
        raise BadInput(f"max_fpr must be in (0, 1]; got {max_fpr}")
    masks = _binary(masks)
    if masks.all() or not masks.any():
        return float("nan")
    fpr, pro = _pro_curve(maps, masks, max_fpr)
    return _area(fpr, pro, max_fpr) / max_fpr


def _auroc(scores: NDArray[Any], positive: NDArray[np.bool_]) -> float:
    """Mann-Whitney U over the number of pairs; a pair counts 1 if the anomalous is larger, ½ if equal."""
    good, anomalous = np.sort(scores[~positive]), scores[positive]
    if not len(good) or not len(anomalous):
        return float("nan")
    below = np.searchsorted(good, anomalous, side="left").sum(dtype=np.int64)
    at_most = np.searchsorted(good, anomalous, side="right").sum(dtype=np.int64)
    return float((below + at_most) / 2 / (len(good) * len(anomalous)))


def _pro_curve(
    maps: NDArray[Any], masks: NDArray[np.bool_], max_fpr: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(FPR, PRO) from (0, 0) at each distinct score, as far as the first point beyond `max_fpr`."""
    weights = region_weights(masks)
    normal = maps[~masks]
    needed = min(len(normal), int(max_fpr * len(normal)) + 1)
    lowest = np.partition(normal, len(normal) - needed)[len(normal) - needed]
    kept = maps >= lowest  # scores below come after the limit and cannot change the area
    scores, weight, is_normal = maps[kept], weights[kept], ~masks[kept]
    order = np.argsort(-scores)
    last_of_tie = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    fpr = np.cumsum(is_normal[order], dtype=np.int64)[last_of_tie] / len(normal)
    pro = np.cumsum(weight[order])[last_of_tie]
    return np.append(0.0, fpr), np.append(0.0, pro)


def region_weights(masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (T, h, w): 1 / (regions · area) inside a region, 0 elsewhere; a region sums to 1 / regions."""
    from scipy import ndimage

    eight_connected = np.ones((3, 3), dtype=bool)
    weights, regions = np.zeros(masks.shape, np.float64), 0
    for mask, weight in zip(masks, weights, strict=True):
        labelled, count = ndimage.label(mask, structure=eight_connected)
        area = np.bincount(labelled.ravel())
        weight[mask] = 1 / area[labelled[mask]]
        regions += count
    return weights / max(regions, 1)


def _area(x: NDArray[np.float64], y: NDArray[np.float64], limit: float) -> float:
    """The trapezoid area under (x, y), x rising from 0, cut at x = limit by interpolation."""
    inside = int(np.searchsorted(x, limit, side="right"))
    if inside < len(x):
        share = (limit - x[inside - 1]) / (x[inside] - x[inside - 1])
        y_limit = y[inside - 1] + share * (y[inside] - y[inside - 1])
        x, y = np.append(x[:inside], limit), np.append(y[:inside], y_limit)
    return float(np.trapezoid(y, x))


def _check_maps(maps: NDArray[Any], masks: NDArray[Any]) -> None:
    if maps.ndim != 3 or maps.shape != masks.shape:
        raise BadInput(f"maps {maps.shape} and masks {masks.shape} must both be (T, h, w) of the same size")
    _require_finite(maps, "anomaly maps")


def _require_finite(values: NDArray[Any], what: str) -> None:
    if not np.isfinite(values).all():
        raise GoodshotError(f"{what} hold {int((~np.isfinite(values)).sum())} non-finite values")


def _binary(values: NDArray[Any]) -> NDArray[np.bool_]:
    if values.dtype != np.bool_ and not np.isin(values, (0, 1)).all():
        raise BadInput("labels and masks must be bool, or 0 and 1")
    return values.astype(bool)
