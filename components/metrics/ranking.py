"""Metrics of a ranking: AUROC, average precision and the best F1, exact on ties.

K distinct scores in descending order, with counts at each; each index of the leading axes (…) is a separate ranking.
Every value is a sum or a maximum over the scores, so counts may be added block by block.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
NAN = float("nan")


@dataclass
class Ranking:
    """Rankings of `positives` (anomalous) and `negatives` (good) items; all values are NaN if either number is 0.

    Without a positive no value is defined; without a negative AP and F1 would be 1 whatever the scores.
    """

    positives: int
    negatives: int
    _found: Any = 0
    _twice_pairs: Any = 0
    _precision: Any = 0.0
    _best: Any = 0.0
    _threshold: Any = field(default=NAN)

    def add(self, scores: NDArray[Any], positives: Counts, above: Counts, upto: Counts) -> None:
        """Count the next scores, all smaller than the earlier ones.

        scores: (K,), descending. positives: (…, K), the number of positives with that score. above, upto: (…, K), the
        number of negatives with a larger score, and with a larger or equal score.
        """
        if not scores.size or self._undefined:
            return
        found = np.asarray(self._found)[..., None] + np.cumsum(positives, axis=-1)
        # Twice the negatives below, plus once those with an equal score: a tied pair counts half.
        self._twice_pairs = self._twice_pairs + (positives * (2 * self.negatives - above - upto)).sum(-1)
        flagged = found + upto
        self._precision = self._precision + (positives * (found / np.maximum(flagged, 1))).sum(-1)
        f1 = 2 * found / (self.positives + flagged)
        at = f1.argmax(-1)
        best = np.take_along_axis(f1, at[..., None], -1)[..., 0]
        self._threshold = np.where(best > self._best, scores[at], self._threshold)
        self._best = np.maximum(best, self._best)
        self._found = found[..., -1]

    @property
    def auroc(self) -> Any:
        """P(anomalous > good) + ½ P(equal)."""
        return NAN if self._undefined else self._twice_pairs / 2 / (self.positives * self.negatives)

    @property
    def ap(self) -> Any:
        """Average precision: Σ (R_k − R_{k−1}) P_k, without interpolation."""
        return NAN if self._undefined else self._precision / self.positives

    @property
    def f1_max(self) -> Any:
        """The largest F1 over all thresholds."""
        return NAN if self._undefined else self._best

    @property
    def f1_threshold(self) -> Any:
        """The largest threshold that gives `f1_max`; scores at or above a threshold are flagged."""
        return NAN if self._undefined else self._threshold

    @property
    def _undefined(self) -> bool:
        return not self.positives or not self.negatives
