"""Compare the variants in rows: each variant's mean ± std over supports, and its paired difference to baselines."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from goodshot.components.metrics.declared import Metric, shown_in
from goodshot.components.metrics.summary import MeanStd, PairedDifference, mean_std, paired_difference
from goodshot.runner import arms
from goodshot.runner.arms import Arm, arm_of_row, baselines
from goodshot.runner.cells import USUAL, kind_of_row

Row = Mapping[str, Any]
Seed = tuple[Any, Any]
"""(support_seed, seed)."""

TABLE = ("dataset", "category", "shots", "image_size", "dev", "oracle")
"""The columns that rows must share to be compared with each other, besides their subject (:func:`subject_of`)."""


@dataclass(frozen=True)
class Comparison:
    """One variant of one category and detector over its supports.

    table: the values of ``TABLE``, among them the category's tags: ``dev`` (a development category), ``oracle`` (test
        labels influenced a choice).
    subject: the detector, or other kind of cell, that measured the variant, see :func:`subject_of`.
    variant: the columns that distinguish the variant from other variants in the same table.
    rows: the variant's row for each support.
    compared: the metric of ``against``; None if the table's rows have no such metric.
    against: the paired difference of ``compared`` to each baseline, by the baseline's label.
    paired: the rows of each of these baselines, by the baseline's label.
    """

    table: Mapping[str, Any]
    subject: str
    variant: Mapping[str, Any]
    rows: Mapping[Seed, Row]
    compared: Metric | None
    against: Mapping[str, PairedDifference] = field(default_factory=dict)
    paired: Mapping[str, Mapping[Seed, Row]] = field(default_factory=dict)

    @property
    def arm(self) -> Arm:
        """The arm of the variant."""
        return arm_of_row(self.variant["arm"])

    @property
    def category(self) -> str:
        """The category with its tags: ``pill (dev)``."""
        tags = [tag for tag in ("dev", "oracle") if self.table[tag]]
        return f"{self.table['category']} ({', '.join(tags)})" if tags else str(self.table["category"])

    @property
    def label(self) -> str:
        """The arm, the number of images that it adds, and the columns that differ from the arm's defaults."""
        copies = self.variant["copies"]
        added = [f"+{copies}"] if copies else []
        return " ".join([str(self.variant["arm"]), *added, *(f"{c}={v}" for c, v in _unusual(self.variant).items())])

    def values(self, metric: Metric) -> dict[Seed, float]:
        """Return the metric by support. Supports without the metric are left out; an undefined value is NaN."""
        values = {seed: row.get(metric.name) for seed, row in self.rows.items()}
        kinds = (kind_of_row(row.get("cell")) for row in self.rows.values())
        undefined = math.nan if any(kind and metric.name in kind.metrics for kind in kinds) else None
        found = {seed: undefined if value is None else value for seed, value in values.items()}
        return {seed: float(value) for seed, value in found.items() if value is not None}

    def judged(self, baseline: str) -> PairedDifference | None:
        """Return the difference to a baseline if it may be called a gain or a harm, otherwise None.

        Only a metric that may be a study's objective gives a gain. For example, a greater similarity to the originals
        does not make images better.
        """
        return self.against.get(baseline) if self.compared and self.compared.objective else None

    def mean(self, metric: Metric) -> MeanStd | None:
        """Return the mean and deviation of a metric over the supports that have it; None if no support has it."""
        values = self.values(metric)
        return mean_std(values.values()) if values else None


def compare(rows: Sequence[Row]) -> list[Comparison]:
    """Group rows by table and variant, in order of appearance, and compare each variant with its baselines.

    A baseline is compared with those listed before it. Raises ValueError for a row of an unknown arm.
    """
    columns = variant_columns()
    by_subject: dict[str, list[Row]] = {}
    for row in rows:
        by_subject.setdefault(subject_of(row), []).append(row)
    leading = {subject: leading_metric(own) for subject, own in by_subject.items()}
    tables: dict[tuple[Any, ...], dict[tuple[Any, ...], dict[Seed, Row]]] = {}
    for row in rows:
        variants = tables.setdefault((subject_of(row), *(row[c] for c in TABLE)), {})
        variants.setdefault(tuple(row[c] for c in columns), {})[row["support_seed"], row["seed"]] = row
    found: list[Comparison] = []
    for (subject, *table), variants in tables.items():
        shared = dict(zip(TABLE, table, strict=True))
        found += _compared(
            [
                Comparison(shared, subject, dict(zip(columns, variant, strict=True)), by_seed, leading[subject])
                for variant, by_seed in variants.items()
            ]
        )
    return found


def _compared(own: Sequence[Comparison]) -> Iterator[Comparison]:
    """Yield the variants of one table with their differences to the baselines of the same table."""
    there = [c for c in own if c.arm.is_baseline]
    for c in own:
        metric = c.compared
        pairs = [(b.arm.label, b) for arm in _baselines_of(c.arm) for b in there if b.arm == arm and is_paired(c, b)]
        if metric is not None:
            against = {n: paired_difference(c.values(metric), b.values(metric)) for n, b in pairs}
            c = replace(c, against=against, paired={n: b.rows for n, b in pairs})
        yield c


def _baselines_of(arm: Arm) -> Iterator[Arm]:
    """Return the baselines that an arm is compared with. A baseline is compared with earlier baselines only."""
    return itertools.takewhile(lambda baseline: baseline != arm, baselines())


def is_paired(comparison: Comparison, baseline: Comparison) -> bool:
    """Return whether a variant is compared with this variant of a baseline, for example if both add as many images."""
    return all(comparison.variant[column] == baseline.variant[column] for column in baseline.arm.paired_by)


def leading_metric(rows: Iterable[Row]) -> Metric | None:
    """Return the metric by which rows are compared; None if there is none.

    It is the first metric of the results tables that all rows of some category have, or else that any row has, so a
    category with an undefined metric does not decide for the others. For this metric, more is always better, because
    differences and verdicts are read in this way.
    """
    categories: dict[Any, list[Row]] = {}
    for row in rows:
        categories.setdefault(row["category"], []).append(row)
    candidates = [metric for metric in shown_in("results") if metric.better == "higher"]
    for enough in (all, any):
        for metric in candidates:
            if any(enough(row.get(metric.name) is not None for row in own) for own in categories.values()):
                return metric
    return None


def by_kind(comparisons: Iterable[Comparison]) -> dict[str, list[Comparison]]:
    """Group comparisons by the title of their kind of cell, because different kinds have no metric in common."""
    kinds: dict[str, list[Comparison]] = {}
    for c in comparisons:
        name = next(iter(c.rows.values())).get("cell")
        kind = kind_of_row(name)
        kinds.setdefault(kind.title if kind else str(name), []).append(c)
    return kinds


def results_metrics(comparisons: Sequence[Comparison]) -> tuple[list[Metric], list[Metric]]:
    """Return the metrics of a results table for which some variant has a value, as two lists.

    The first list has the metrics that tell how good a variant is, the second the metrics that may be a study's
    objective without test labels.
    """

    def is_defined(metric: Metric) -> bool:
        means = (c.mean(metric) for c in comparisons)
        return any(mean is not None and math.isfinite(mean.mean) for mean in means)

    shown = [metric for metric in shown_in("results") if is_defined(metric)]
    return [m for m in shown if m.objective != "fair"], [m for m in shown if m.objective == "fair"]


def baseline_labels(comparisons: Iterable[Comparison]) -> list[str]:
    """Return the labels of the baselines that any of the comparisons has."""
    there = {label for c in comparisons for label in c.against}
    return [arm.label for arm in baselines() if arm.label in there]


def subject_of(row: Row) -> str:
    """Return what measured a row: its detector, and the kind of its cell unless that is the usual kind."""
    kind = kind_of_row(row.get("cell"))
    detector, title = row.get("detector"), kind.title if kind else str(row["cell"])
    parts = (title if detector is None or kind is not USUAL else None, detector)
    return ", ".join(str(part) for part in parts if part is not None)


def variant_label(row: Row) -> str:
    """Return the arm with the values that differ from the arm's defaults, for example ``generated worst``."""
    return " ".join([str(row["arm"]), *map(str, _unusual(row).values())])


def _unusual(row: Row) -> dict[str, Any]:
    """Return the columns in which a row differs from the default values, which the arm's labels leave out."""
    defaults = arm_of_row(row["arm"]).column_defaults
    return {column: row[column] for column, value in defaults.items() if row[column] not in (None, value)}


def variant_columns() -> tuple[str, ...]:
    """Return the columns that distinguish the variants of one table."""
    return tuple(
        dict.fromkeys(("arm", *(c for a in arms.ARMS for c in (*a.point_fields, *a.column_defaults)), "augmentation"))
    )
