"""Numbers of tables with the rows that they rest on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

from goodshot.components.metrics.declared import Metric
from goodshot.components.metrics.summary import MeanStd, PairedDifference
from goodshot.runner.console.terminal import difference, mean_std_text
from goodshot.runner.report.blocks import Value
from goodshot.runner.results.comparison import Comparison, Row


def fingerprints(rows: Iterable[Row]) -> tuple[str, ...]:
    """Return the fingerprints of rows of results."""
    return tuple(str(row["fingerprint"]) for row in rows)


def mean_value(comparison: Comparison, metric: Metric) -> Value | None:
    """Return ``0.737 ± 0.005``, a variant's mean over supports; None if the metric was not measured."""
    mean = comparison.mean(metric)
    return None if mean is None else mean_of(mean, fingerprints(comparison.rows.values()), metric.name)


def mean_of(mean: MeanStd, rows: Sequence[str], metric: str) -> Value:
    """Return a mean ± std with the rows that it was computed from; a dash if it is undefined."""
    return Value(_number(mean.mean), mean_std_text(mean), tuple(rows), metric)


def difference_value(comparison: Comparison, baseline: str) -> Value | None:
    """Return ``+0.012 [−0.030, +0.054]``, the paired difference to a baseline; None if there is none."""
    paired = comparison.against.get(baseline)
    if paired is None or comparison.compared is None:
        return None
    own, theirs = comparison.rows, comparison.paired[baseline]
    rows = fingerprints(row for seed, row in own.items() if seed in theirs)
    rows += fingerprints(row for seed, row in theirs.items() if seed in own)
    return Value(_number(paired.mean), difference(paired), rows, comparison.compared.name, _tone(paired))


def number_value(number: float | None, text: str) -> Value:
    """Return a number that rests on no rows, or whose rows are named elsewhere."""
    return Value(None if number is None else _number(number), text)


def _number(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _tone(paired: PairedDifference) -> Literal["", "gain", "harm"]:
    verdict = paired.verdict
    return verdict if verdict == "gain" or verdict == "harm" else ""
