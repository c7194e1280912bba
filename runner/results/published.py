"""Compare published numbers with rows: compute the quantity of each reference from an experiment's rows.

The quantity of a reference (:class:`goodshot.runner.study.experiment.Reference`) is a metric, or a gain over another
arm, for one category or as a mean over several. It is computed from the rows of each matching variant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from goodshot.components.metrics import declared
from goodshot.components.metrics.detection import ALL
from goodshot.components.metrics.summary import MeanStd, mean_std
from goodshot.runner.declaration.points import SWEPT
from goodshot.runner.results.comparison import Row, subject_of, variant_label
from goodshot.runner.study.experiment import Reference

Unit = Literal["", "points", "relative"]
LongMetrics = Mapping[str, Mapping[tuple[str, str], float]]
"""Fingerprint → (subset, metric) → value."""


@dataclass(frozen=True)
class Beside:
    """One published number, and the same quantity computed from one variant's rows.

    label: the label of the variant.
    subject: the detector with which the variant was measured.
    unit: the unit of a gain: ``points`` if ``own`` is a difference, ``relative`` if it is a fraction of the baseline.
    own: the mean over categories and supports, and the sample deviation over supports.
    supports, categories: the numbers of supports and categories in the mean.
    substitutes: column → (the source's value, this row's value), if rows were measured in another way than the source.
    rows: the fingerprints of the rows.
    """

    reference: Reference
    label: str
    subject: str
    unit: Unit
    own: MeanStd
    supports: int
    categories: int
    substitutes: Mapping[str, tuple[Any, Any]]
    rows: tuple[str, ...]

    @property
    def difference(self) -> float:
        """The own value minus the published value, in units of the metric."""
        return self.own.mean - self.reference.value

    @property
    def relative_difference(self) -> float:
        """The difference as a fraction of the published number; NaN if the published number is 0."""
        return self.difference / self.reference.value if self.reference.value else math.nan


def beside(references: Iterable[Reference], rows: Sequence[Row], metrics: LongMetrics) -> list[Beside]:
    """Compare the paper's references with rows; references that no row matches are left out.

    Args:
        metrics: the values of the long table ``metrics/``, for references to subsets and to metrics without a column.
    """
    found: list[Beside] = []
    for reference in references:
        if reference.kind == "paper" and _is_measured(reference.metric):
            found += _of_reference(reference, rows, metrics)
    return found


def measured(metric: str, rows: Sequence[Row], metrics: LongMetrics) -> list[Beside]:
    """Return a metric of each variant as a mean over categories. Variants without the metric are left out."""
    return [*_of_reference(Reference("", metric, math.nan, {}), rows, metrics)]


def _is_measured(metric: str) -> bool:
    return any(metric == known.name for known in declared.METRICS)


def _of_reference(reference: Reference, rows: Sequence[Row], metrics: LongMetrics) -> Iterable[Beside]:
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in filter(reference.matches, rows):
        point = tuple(row.get(column) for column in SWEPT)
        groups.setdefault((variant_label(row), _subject(reference, row), point), []).append(row)
    for (label, subject, _), own in groups.items():
        for unit in _units(reference):
            values = _values(reference, unit, own, rows, metrics)
            if values:
                yield _summary(reference, label, subject, unit, own, values)


def _subject(reference: Reference, row: Row) -> str:
    """Return what measured the row; the same text for all rows if the reference is a mean over detectors."""
    return "all detectors" if "detector" in reference.mean_over else subject_of(row)


def _units(reference: Reference) -> Sequence[Unit]:
    """Return the units in which to compare: both for a gain printed as "+x %" without a unit, "" for a metric."""
    if reference.over is None:
        return ("",)
    return ("points", "relative") if reference.unit == "unstated" else (reference.unit or "points",)


Pair = tuple[Any, ...]
"""(support_seed, seed, category, detector): what an arm's row and its baseline's row have in common."""


def _pair(row: Row) -> Pair:
    return row["support_seed"], row["seed"], row["category"], row.get("detector")


def _values(
    reference: Reference, unit: Unit, own: Sequence[Row], rows: Sequence[Row], metrics: LongMetrics
) -> dict[Pair, float]:
    """Return the quantity of each pair. A relative gain leaves out pairs whose baseline is 0."""
    read = _reader(reference, metrics)
    values = {_pair(row): value for row in own if (value := read(row)) is not None}
    if reference.over is None:
        return values
    like = {"shots", "image_size", "dataset"}
    there = {tuple(row.get(c) for c in sorted(like)) for row in own}
    baseline = {
        _pair(row): value
        for row in rows
        if row["arm"] == reference.over
        and tuple(row.get(c) for c in sorted(like)) in there
        and (value := read(row)) is not None
    }
    both = [pair for pair in values if pair in baseline]
    if unit == "points":
        return {pair: values[pair] - baseline[pair] for pair in both}
    return {pair: values[pair] / baseline[pair] - 1 for pair in both if baseline[pair]}


def _reader(reference: Reference, metrics: LongMetrics) -> Callable[[Row], float | None]:
    """Return a function that reads a row's value from its column or from the long metrics. NaN counts as missing."""

    def read(row: Row) -> float | None:
        value = row.get(reference.metric) if reference.subset == ALL else None
        if value is None:
            value = metrics.get(row["fingerprint"], {}).get((reference.subset, reference.metric))
        return None if value is None or math.isnan(value) else float(value)

    return read


def _summary(
    reference: Reference, label: str, subject: str, unit: Unit, own: Sequence[Row], values: Mapping[Pair, float]
) -> Beside:
    by_support: dict[tuple[Any, ...], dict[str, list[float]]] = {}
    for (support_seed, seed, category, _), value in values.items():
        by_support.setdefault((support_seed, seed), {}).setdefault(category, []).append(value)
    means = [
        mean_std(mean_std(several).mean for several in categories.values()).mean for categories in by_support.values()
    ]
    used = [row for row in own if _pair(row) in values]
    substitutes: dict[str, tuple[Any, Any]] = {}
    for row in used:
        substitutes |= reference.substitutes(row)
    return Beside(
        reference,
        label,
        subject,
        unit,
        mean_std(means),
        len(by_support),
        len({pair[2] for pair in values}),
        substitutes,
        tuple(str(row["fingerprint"]) for row in used),
    )
