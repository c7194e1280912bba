"""Metrics of image scores, anomalous against good, with bootstrap intervals.

Efron's percentile bootstrap over images, stratified by label: each resample has the original numbers of good and
of anomalous images, so that no resample lacks a class.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from goodshot.components.metrics.ranking import NAN, Ranking

RESAMPLES = 1000
CONFIDENCE = 0.95
_AT_ONCE = 1 << 20
"""Maximum number of counts in a batch of resamples."""


@dataclass(frozen=True)
class Interval:
    """A value with its percentile interval; NaN if there is none."""

    value: float
    low: float = NAN
    high: float = NAN


def image_values(
    scores: NDArray[Any], anomalous: NDArray[np.bool_], resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Return AUROC, AP and F1-max with 95 % intervals, and F1-max's threshold without one.

    scores, anomalous: (T,). All NaN if only one class is present. With `resamples` 0, no intervals.
    """
    values, which = np.unique(-scores, return_inverse=True)
    groups = _Groups(-values, which, anomalous)
    one = groups.ranking(np.ones((1, len(scores)), np.int64))
    found = {
        "image_auroc": Interval(float(np.squeeze(one.auroc))),
        "image_ap": Interval(float(np.squeeze(one.ap))),
        "image_f1_max": Interval(float(np.squeeze(one.f1_max))),
        "image_f1_threshold": Interval(float(np.squeeze(one.f1_threshold))),
    }
    if not resamples or anomalous.all() or not anomalous.any():
        return found
    drawn = _resampled(groups, resamples, seed)
    tail = (1 - CONFIDENCE) / 2
    for name, sample in drawn.items():
        low, high = np.quantile(sample, [tail, 1 - tail])
        found[name] = Interval(found[name].value, float(low), float(high))
    return found


@dataclass(frozen=True)
class _Groups:
    """Images grouped by their distinct scores, the largest first."""

    scores: NDArray[Any]
    which: NDArray[np.intp]
    anomalous: NDArray[np.bool_]

    def ranking(self, weights: NDArray[np.int64]) -> Ranking:
        """The rankings in which image t counts weights[…, t] times; each class keeps its number of images."""
        order = np.argsort(self.which, kind="stable")
        starts = np.searchsorted(self.which[order], np.arange(len(self.scores)))
        weights = weights[:, order]
        counts = {kind: weights * (self.anomalous[order] == kind) for kind in (True, False)}
        # reduceat raises an error for an empty array.
        at = {k: np.add.reduceat(c, starts, axis=1) if len(starts) else c for k, c in counts.items()}
        upto = np.cumsum(at[False], axis=1)
        positives = int(self.anomalous.sum())
        ranking = Ranking(positives, len(self.anomalous) - positives)
        ranking.add(self.scores, at[True], upto - at[False], upto)
        return ranking


def _resampled(groups: _Groups, resamples: int, seed: int) -> dict[str, NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    images = len(groups.anomalous)
    strata = [np.flatnonzero(groups.anomalous == kind) for kind in (False, True)]
    batches: list[Ranking] = []
    batch = max(1, _AT_ONCE // images)
    for start in range(0, resamples, batch):
        weights = np.zeros((min(batch, resamples - start), images), np.int64)
        for stratum in strata:
            weights[:, stratum] = rng.multinomial(len(stratum), np.full(len(stratum), 1 / len(stratum)), len(weights))
        batches.append(groups.ranking(weights))
    return {
        "image_auroc": np.concatenate([b.auroc for b in batches]),
        "image_ap": np.concatenate([b.ap for b in batches]),
        "image_f1_max": np.concatenate([b.f1_max for b in batches]),
    }
