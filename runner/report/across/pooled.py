"""The comparisons of an experiment pooled over categories: one dataset, number of shots and detector at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from goodshot.components.metrics.declared import Metric
from goodshot.components.metrics.summary import MeanStd, PairedDifference, mean_std, paired_difference
from goodshot.runner.report.experiment import ExperimentContext
from goodshot.runner.results.comparison import Comparison, is_paired

Setting = tuple[str, str, str]
"""(dataset, shots, subject): what pooled rows have in common."""


@dataclass(frozen=True)
class Pooled:
    """One variant over the categories of a setting.

    values: (category, support_seed, seed) → the leading metric.
    against: baseline's label → the paired difference to it over all categories and supports.
    rows: the fingerprints of its rows.
    """

    setting: Setting
    metric: Metric
    label: str
    comparisons: Sequence[Comparison]
    values: Mapping[tuple[Any, ...], float]
    against: Mapping[str, PairedDifference]

    @property
    def categories(self) -> int:
        """The number of categories with a value."""
        return len({unit[0] for unit in self.values})

    @property
    def supports(self) -> int:
        """The largest number of supports that a category has."""
        counts: dict[Any, int] = {}
        for unit in self.values:
            counts[unit[0]] = counts.get(unit[0], 0) + 1
        return max(counts.values(), default=0)

    @property
    def mean(self) -> MeanStd:
        """The mean over categories of each category's mean over supports, and the deviation between categories."""
        by_category: dict[Any, list[float]] = {}
        for unit, value in self.values.items():
            by_category.setdefault(unit[0], []).append(value)
        return mean_std(mean_std(values).mean for values in by_category.values())

    @property
    def rows(self) -> tuple[str, ...]:
        """The fingerprints of its rows."""
        return tuple(str(row["fingerprint"]) for c in self.comparisons for row in c.rows.values())


def pooled(experiment: ExperimentContext) -> list[Pooled]:
    """Return the variants of each setting in order of appearance; without a leading metric there is none."""
    settings: dict[Setting, dict[str, list[Comparison]]] = {}
    for c in experiment.comparisons:
        if c.compared is not None:
            variants = settings.setdefault(_setting(c), {})
            variants.setdefault(c.label, []).append(c)
    return [found for setting, variants in settings.items() for found in _of_setting(setting, variants)]


def _setting(comparison: Comparison) -> Setting:
    table = comparison.table
    return str(table["dataset"]), str(table["shots"]), comparison.subject


def _of_setting(setting: Setting, variants: Mapping[str, Sequence[Comparison]]) -> Iterator[Pooled]:
    values = {label: dict(_values(own)) for label, own in variants.items()}
    for label, own in variants.items():
        first = own[0]
        metric = first.compared
        if metric is None or not values[label]:
            continue
        bases = {
            other[0].arm.label: values[name]
            for name, other in variants.items()
            if other[0].arm.label in first.against and is_paired(first, other[0])
        }
        against = {base: paired_difference(values[label], there) for base, there in bases.items()}
        yield Pooled(setting, metric, label, own, values[label], against)


def _values(comparisons: Sequence[Comparison]) -> Iterator[tuple[tuple[Any, ...], float]]:
    for c in comparisons:
        if c.compared is not None:
            for seed, value in c.values(c.compared).items():
                if value == value:  # a category in which the metric is undefined has no part in a mean
                    yield (c.table["category"], *seed), value
