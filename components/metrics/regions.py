"""Per-region overlap: the share of every defect that is found, as one weight per pixel, and the area under its curve.

The weights of all flagged pixels sum to the sum over regions of the region's overlap. One choice of
weights gives the per-region overlap (PRO: Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021),
another the saturated one (sPRO: Bergmann et al., "Beyond Dents and Scratches", IJCV 2022).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from goodshot.components.errors import BadInput
from goodshot.components.metrics.ranking import NAN, Counts

Region: TypeAlias = tuple[NDArray[np.bool_], float]
"""A defect's mask (h, w), and the share in (0, 1] of its area that has to be found for an overlap of 1."""

# Pixels that touch at corners are connected too, as in PRO's components.
_EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class Weights:
    """One image's weights, for the marked pixels in raster order: `table[codes]`. Their sum is the number of `regions`.

    Codes take one byte per pixel where weights take eight.
    """

    table: NDArray[np.float64]
    codes: NDArray[Any]
    regions: int


def component_weights(mask: NDArray[np.bool_]) -> Weights:
    """Return PRO's weights: the overlap of each 8-connected component of `mask` (h, w) is its share found."""
    from scipy import ndimage

    labelled, count = ndimage.label(mask, structure=_EIGHT_CONNECTED)
    codes = labelled[mask]
    area = np.bincount(codes, minlength=count + 1)
    return Weights(1 / np.maximum(area, 1), codes.astype(np.min_scalar_type(count)), count)


def saturated_weights(scores: NDArray[Any], mask: NDArray[np.bool_], regions: Iterable[Region]) -> Weights:
    """Return sPRO's weights: the overlap of a region is min(pixels found / saturation area, 1).

    The first pixels of a region by score count 1 / s each until s are found, later ones 0; if s is not a
    whole number, the last one counts the remainder. The order of tied pixels does not matter: a
    threshold flags all of them or none.

    scores, mask: (h, w). regions: within `mask`; they may overlap each other. A region without a pixel at this size
    is skipped, because it cannot be found.

    Raises:
        BadInput: a region marks a pixel that `mask` does not, or its saturation share is not in (0, 1].
    """
    weights, count = np.zeros(mask.shape), 0
    for region, share in regions:
        if not 0 < share <= 1:
            raise BadInput(f"a region's saturation must be a share of its area, in (0, 1]; got {share}")
        if region.shape != mask.shape or (region & ~mask).any():
            raise BadInput("a defect's region marks pixels outside of its image's mask; join all regions in the mask")
        where = np.flatnonzero(region)
        if not len(where):
            continue
        saturation = share * len(where)
        first = np.argsort(-scores.ravel()[where])
        weights.ravel()[where[first]] += np.clip(saturation - np.arange(len(where)), 0, 1) / saturation
        count += 1
    table, codes = np.unique(weights[mask], return_inverse=True)
    return Weights(table, codes.astype(np.min_scalar_type(len(table))), count)


@dataclass
class OverlapCurve:
    """The curve of mean overlap over false positive rate, integrated as its points are added, from (0, 0).

    Points lie at each distinct score and are joined by straight lines, with interpolation at the limits.
    """

    regions: int
    normals: int
    limits: Sequence[float]
    _fpr: float = 0.0
    _overlap: float = 0.0
    _areas: dict[float, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for limit in self.limits:
            if not 0 < limit <= 1:
                raise BadInput(f"max_fpr must be in (0, 1]; got {limit}")

    def add(self, weights: NDArray[np.float64], above: Counts, upto: Counts) -> None:
        """Add the points of the next scores of marked pixels, in descending order.

        weights: (K,), summed at each score. above, upto: (K,), normal pixels with a larger score, and with a larger
        or equal one.
        """
        if not len(weights) or self._undefined:
            return
        overlap = self._overlap + np.cumsum(weights) / self.regions
        before = np.append(self._overlap, overlap[:-1])
        # Between two scores of marked pixels no further region pixel is found, so the curve is level.
        self._to(np.stack([above, upto], 1).ravel() / self.normals, np.stack([before, overlap], 1).ravel())

    def values(self) -> dict[float, float]:
        """The area under the curve up to each limit, divided by it; NaN without a region or a normal pixel."""
        if self._undefined:
            return dict.fromkeys(self.limits, NAN)
        self._to(np.ones(1), np.array([self._overlap]))
        return {limit: self._areas[limit] / limit for limit in self.limits}

    def _to(self, fpr: NDArray[np.float64], overlap: NDArray[np.float64]) -> None:
        x, y = np.append(self._fpr, fpr), np.append(self._overlap, overlap)
        for limit in self.limits:
            self._areas[limit] = self._areas.get(limit, 0.0) + _area(x, y, limit)
        self._fpr, self._overlap = float(x[-1]), float(y[-1])

    @property
    def _undefined(self) -> bool:
        return not self.regions or not self.normals


def _area(x: NDArray[np.float64], y: NDArray[np.float64], limit: float) -> float:
    """The trapezoid area under (x, y), x not decreasing, cut at x = limit by interpolation."""
    inside = int(np.searchsorted(x, limit, side="right"))
    if not inside:
        return 0.0
    area = float(np.trapezoid(y[:inside], x[:inside]))
    if inside < len(x):
        share = (limit - x[inside - 1]) / (x[inside] - x[inside - 1])
        at_limit = y[inside - 1] + share * (y[inside] - y[inside - 1])
        area += (limit - x[inside - 1]) * (y[inside - 1] + at_limit) / 2
    return area
