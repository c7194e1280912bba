"""All metrics of a detector's raw scores on one test set, for every defect type.

Interface to pixel and image metrics: T test images, h × w the map's size. All values are exact, ties included.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from goodshot.components.detectors.base import Scores
from goodshot.components.errors import BadInput, GoodshotError
from goodshot.components.metrics.images import RESAMPLES, image_values
from goodshot.components.metrics.pixels import Maps, Masks, Overlaps, Pixels, Subset, measure
from goodshot.components.metrics.ranking import NAN
from goodshot.components.metrics.regions import Region, component_weights, saturated_weights

ALL = "all"
MEAN = "mean"
IMAGE_SET = "image_set/all"
"""The subset name for the quality of an arm's images. Defect types are folder names, so none has this name."""
PRO_LIMIT = 0.3
SPRO_LIMITS = (0.01, 0.05, 0.1, 0.3, 1.0)
"""The limits of MVTec LOCO's own evaluation; the headline is 0.05."""
LOCO_KINDS = ("logical_anomalies", "structural_anomalies")


class Regions(Protocol):
    """The separate defects of each of T images; none for a good one. A list of lists is an instance."""

    def __len__(self) -> int: ...

    def __getitem__(self, image: int, /) -> Sequence[Region]: ...


@dataclass(frozen=True)
class MetricValue:
    """One metric of one subset. NaN if undefined for the subset; low and high are NaN without an interval."""

    subset: str
    metric: str
    value: float
    low: float = NAN
    high: float = NAN


@dataclass(frozen=True)
class DetectionMetrics:
    """The headline metrics of one test set in [0, 1], NaN if undefined (one class only, no masks), and all `values`."""

    image_auroc: float
    pixel_auroc: float
    aupro: float
    values: tuple[MetricValue, ...] = ()


def evaluate(
    scores: Scores,
    labels: ArrayLike,
    masks: Masks | None,
    defect_types: Sequence[str] | None = None,
    defects: Regions | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> DetectionMetrics:
    """Return all metrics of raw `scores`.

    Subsets: `all`, and each defect type's images against all good ones. Image metrics (AUROC, AP, F1-max with its
    threshold) have 95 % bootstrap intervals; pixel metrics are the same and AUPRO (FPR ≤ 0.3). With `defects` also
    AU-sPRO at each of `SPRO_LIMITS`, and for MVTec LOCO's two types the subset `mean`: the mean of both.

    masks: bool (T, h, w) at the maps' size, all false for a good image;
    None for a dataset without masks, whose pixel metrics are NaN. defect_types: (T,), ignored for good
    images. defects: each image's separate defects, within its mask. resamples: 0 for no intervals.

    Raises:
        BadInput: lengths or sizes differ, a label or mask is neither 0 nor 1, or a good image's mask is not empty.
        GoodshotError: a score is not finite.
    """
    image, anomalous = _images(scores.image, labels)
    names = [] if defect_types is None else sorted({t for t, bad in zip(defect_types, anomalous, strict=True) if bad})
    kinds = np.zeros(len(anomalous), np.intp)
    for g, name in enumerate(names, start=1):
        kinds[anomalous & (np.asarray(defect_types) == name)] = g
    subsets = dict(enumerate([ALL, *names]))
    values: list[MetricValue] = []
    for g, subset in subsets.items():
        members = np.isin(kinds, (0, g)) if g else np.ones(len(kinds), bool)
        found = image_values(image[members], anomalous[members], resamples, seed)
        values += [MetricValue(subset, metric, v.value, v.low, v.high) for metric, v in found.items()]
    for g, pixel_values in enumerate(_pixels(scores.maps, masks, anomalous, kinds, defects)):
        values += [MetricValue(subsets[g], metric, value) for metric, value in pixel_values.items()]
    if defects is not None and {*names} >= {*LOCO_KINDS}:
        values += _means(values)
    headline = {v.metric: v.value for v in values if v.subset == ALL}
    return DetectionMetrics(
        headline["image_auroc"], headline.get("pixel_auroc", NAN), headline.get("aupro", NAN), tuple(values)
    )


def image_auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the area under the ROC curve: P(anomalous > good) + ½ P(equal). Equal to scikit-learn's.

    scores: (T,), larger is more anomalous, any scale. labels: (T,), true or 1 for anomalous. NaN if only
    one class is present. Raises `GoodshotError` for a non-finite score, `BadInput` if the lengths differ or
    a label is neither 0 nor 1.
    """
    return image_values(*_images(scores, labels), resamples=0)["image_auroc"].value


def pixel_auroc(maps: Maps, masks: Masks) -> float:
    """Return the AUROC over all pixels of all images, maps and masks (T, h, w); NaN for one class only."""
    return float(measure(Pixels(maps, masks))[0].ranking.auroc)


def aupro(maps: Maps, masks: Masks, max_fpr: float = PRO_LIMIT) -> float:
    """Return the area under the per-region overlap curve up to `max_fpr`, divided by it (Bergmann 2021).

    At each threshold: the share of every defect region that is found, averaged over all regions (8-connected
    components of each mask), against the share of normal pixels (outside every mask, of all images) that is
    flagged. Points lie at each distinct score and are joined by straight lines, with interpolation at the
    limit.

    maps, masks: (T, h, w). NaN if there is no region or no normal pixel.
    """
    pixels = Pixels(maps, masks)
    return measure(pixels, [_components(pixels, (max_fpr,))])[0].curves[0].values()[max_fpr]


def au_spro(maps: Maps, masks: Masks, defects: Regions, max_fpr: float = 0.05) -> float:
    """Return the area under the saturated per-region overlap curve up to `max_fpr`, divided by it (Bergmann 2022).

    The definition is that of `aupro`, but regions are the `defects` as annotated, however many components they have,
    and the overlap of a region is min(pixels found / s, 1): s is its saturation share of the defect's area at the maps'
    size. NaN if there is no region or no normal pixel.
    """
    pixels = Pixels(maps, masks)
    return measure(pixels, [_saturated(pixels, defects, (max_fpr,))])[0].curves[0].values()[max_fpr]


def _pixels(
    maps: Maps,
    masks: Masks | None,
    anomalous: NDArray[np.bool_],
    kinds: NDArray[np.intp],
    defects: Regions | None,
) -> list[dict[str, float]]:
    """Each subset's pixel metrics by name; NaN without masks."""
    if masks is None:
        empty = Subset.empty((PRO_LIMIT,), SPRO_LIMITS if defects is not None else ())
        return [_named(empty)] * (int(kinds.max(initial=0)) + 1)
    pixels = Pixels(maps, masks, kinds)
    wrong = np.flatnonzero(~anomalous & (pixels.marked > 0)).tolist()
    if wrong:
        raise BadInput(f"image {wrong[0]} is labelled good, but its mask marks {pixels.marked[wrong[0]]} pixels")
    overlaps = [_components(pixels, (PRO_LIMIT,))]
    if defects is not None:
        overlaps.append(_saturated(pixels, defects, SPRO_LIMITS))
    return [_named(subset) for subset in measure(pixels, overlaps)]


def _named(subset: Subset) -> dict[str, float]:
    ranking, (pro, *spro) = subset.ranking, subset.curves
    found = {
        "pixel_auroc": float(ranking.auroc),
        "pixel_ap": float(ranking.ap),
        "pixel_f1_max": float(ranking.f1_max),
        "pixel_f1_threshold": float(ranking.f1_threshold),
        "aupro": pro.values()[PRO_LIMIT],
    }
    return found | {f"au_spro_{limit:g}": v for curve in spro for limit, v in curve.values().items()}


def _components(pixels: Pixels, limits: tuple[float, ...]) -> Overlaps:
    return Overlaps([component_weights(pixels.mask(i)) if n else None for i, n in enumerate(pixels.marked)], limits)


def _saturated(pixels: Pixels, defects: Regions, limits: tuple[float, ...]) -> Overlaps:
    if len(defects) != len(pixels):
        raise BadInput(f"defects must be those of {len(pixels)} images; got {len(defects)}")
    weights = [
        saturated_weights(pixels.map(i), pixels.mask(i), defects[i]) if marked else None
        for i, marked in enumerate(pixels.marked)
    ]
    return Overlaps(weights, limits)


def _means(values: Sequence[MetricValue]) -> list[MetricValue]:
    """The mean of LOCO's two types, of every metric except thresholds; NaN if one of them is."""
    by_metric: dict[str, list[float]] = {}
    for v in values:
        if v.subset in LOCO_KINDS and not v.metric.endswith("threshold"):
            by_metric.setdefault(v.metric, []).append(v.value)
    return [MetricValue(MEAN, metric, sum(found) / len(LOCO_KINDS)) for metric, found in by_metric.items()]


def _images(scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise BadInput(f"scores and labels must be (T,) alike; got {scores.shape} and {labels.shape}")
    if not np.isfinite(scores).all():
        raise GoodshotError(f"image scores hold {int((~np.isfinite(scores)).sum())} non-finite values")
    if labels.dtype != np.bool_ and not np.isin(labels, (0, 1)).all():
        raise BadInput("labels and masks must be bool, or 0 and 1")
    return scores, labels.astype(bool)
