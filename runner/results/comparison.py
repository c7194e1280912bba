"""Rows → comparisons: each variant's mean ± std over supports, and its paired difference to the baselines."""

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
"""The columns that all rows compared with each other have in common, besides what they were measured with."""


@dataclass(frozen=True)
class Comparison:
    """One variant of one category and detector over its supports.

    table: the values of ``TABLE``, among them the category's tags: ``dev`` (a development category), ``oracle`` (test
        labels took part in a choice).
    subject: what it was measured with, see :func:`subject_of`.
    variant: the columns that tell it apart from others in the same table.
    rows: its row of each support.
    compared: the metric of ``against``; None if the table's rows have none.
    against: for each baseline, by its label, the paired difference of ``compared``.
    paired: for each of these baselines its rows.
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
        """Its arm."""
        return arm_of_row(self.variant["arm"])

    @property
    def category(self) -> str:
        """The category with its tags: ``pill (dev)``."""
        tags = [tag for tag in ("dev", "oracle") if self.table[tag]]
        return f"{self.table['category']} ({', '.join(tags)})" if tags else str(self.table["category"])

    @property
    def label(self) -> str:
        """The arm, how many images it adds, and what is varied within it away from the default."""
        copies = self.variant["copies"]
        added = [f"+{copies}"] if copies else []
        return " ".join([str(self.variant["arm"]), *added, *(f"{c}={v}" for c, v in _unusual(self.variant).items())])

    def values(self, metric: Metric) -> dict[Seed, float]:
        """The metric of each support that has it; NaN where it is undefined, as its kind of cell measures it."""
        values = {seed: row.get(metric.name) for seed, row in self.rows.items()}
        kinds = (kind_of_row(row.get("cell")) for row in self.rows.values())
        undefined = math.nan if any(kind and metric.name in kind.metrics for kind in kinds) else None
        found = {seed: undefined if value is None else value for seed, value in values.items()}
        return {seed: float(value) for seed, value in found.items() if value is not None}

    def judged(self, baseline: str) -> PairedDifference | None:
        """The difference to a baseline if it may be called a gain or a harm: that of a metric which a study may choose
        by. Images that resemble the originals more are not better ones by that alone."""
        return self.against.get(baseline) if self.compared and self.compared.objective else None

    def mean(self, metric: Metric) -> MeanStd | None:
        """The metric over the supports that have it; None if none of them does."""
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
    """The variants of one table with their differences to the baselines among them."""
    there = [c for c in own if c.arm.is_baseline]
    for c in own:
        metric = c.compared
        pairs = [(b.arm.label, b) for arm in _baselines_of(c.arm) for b in there if b.arm == arm and is_paired(c, b)]
        if metric is not None:
            against = {n: paired_difference(c.values(metric), b.values(metric)) for n, b in pairs}
            c = replace(c, against=against, paired={n: b.rows for n, b in pairs})
        yield c


def _baselines_of(arm: Arm) -> Iterator[Arm]:
    """The baselines that an arm is compared with. A baseline is compared with earlier baselines only."""
    return itertools.takewhile(lambda baseline: baseline != arm, baselines())


def is_paired(comparison: Comparison, baseline: Comparison) -> bool:
    """Whether a variant is compared with this variant of a baseline: for example both add equally many images."""
    return all(comparison.variant[column] == baseline.variant[column] for column in baseline.arm.paired_by)


def leading_metric(rows: Iterable[Row]) -> Metric | None:
    """The metric by which rows are compared: the first of the results tables that all rows of a category have, or else
    that any row has; None if there is none. A category in which it is undefined does not decide for the others.
    Differences and verdicts are read as "more is better", so it is one of that kind."""
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
    """Comparisons by the title of their kind of cell, because different kinds have no metric in common."""
    kinds: dict[str, list[Comparison]] = {}
    for c in comparisons:
        name = next(iter(c.rows.values())).get("cell")
        kind = kind_of_row(name)
        kinds.setdefault(kind.title if kind else str(name), []).append(c)
    return kinds


def results_metrics(comparisons: Sequence[Comparison]) -> tuple[list[Metric], list[Metric]]:
    """The metrics of a results table of which some variant has a value: those that say how good a variant is, and those
    that a study may choose by without a test label."""

    def is_defined(metric: Metric) -> bool:
        means = (c.mean(metric) for c in comparisons)
        return any(mean is not None and math.isfinite(mean.mean) for mean in means)

    shown = [metric for metric in shown_in("results") if is_defined(metric)]
    return [m for m in shown if m.objective != "fair"], [m for m in shown if m.objective == "fair"]


def baseline_labels(comparisons: Iterable[Comparison]) -> list[str]:
    """The baselines that any of them is compared with."""
    there = {label for c in comparisons for label in c.against}
    return [arm.label for arm in baselines() if arm.label in there]


def subject_of(row: Row) -> str:
    """What a row was measured with: its detector, and the kind of its cell unless that is the usual one."""
    kind = kind_of_row(row.get("cell"))
    detector, title = row.get("detector"), kind.title if kind else str(row["cell"])
    parts = (title if detector is None or kind is not USUAL else None, detector)
    return ", ".join(str(part) for part in parts if part is not None)


def variant_label(row: Row) -> str:
    """The arm, and what is varied within it away from the default: ``generated worst``."""
    return " ".join([str(row["arm"]), *map(str, _unusual(row).values())])


def _unusual(row: Row) -> dict[str, Any]:
    """The columns in which a row differs from what its arm's labels leave out."""
    defaults = arm_of_row(row["arm"]).column_defaults
    return {column: row[column] for column, value in defaults.items() if row[column] not in (None, value)}


def variant_columns() -> tuple[str, ...]:
    """The columns that tell variants of one table apart."""
    return tuple(
        dict.fromkeys(("arm", *(c for a in arms.ARMS for c in (*a.point_fields, *a.column_defaults)), "augmentation"))
    )
