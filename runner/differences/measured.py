"""Compare the results of two outputs, over the cells that both outputs have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from goodshot.components.metrics import declared
from goodshot.components.metrics.declared import Metric
from goodshot.components.metrics.detection import ALL, IMAGE_SET
from goodshot.components.metrics.summary import PairedDifference, mean_std, paired_difference
from goodshot.runner.differences.matching import SUBJECT, Matching, Pair
from goodshot.runner.differences.outputs import Output
from goodshot.runner.results.comparison import Row, leading_metric

Values = Mapping[str, Mapping[str, float]]
"""Fingerprint → metric → value."""


@dataclass(frozen=True)
class Variant:
    """The variant that a line of results describes.

    subject: the detector or other kind of cell with which the variant was measured.
    label: the arm, and the columns in which its variants or the outputs differ.
    category: the category; None for all categories together.

    If the outputs have different values, ``subject`` and ``label`` show both: ``generated vq_weight=1|3``.
    """

    dataset: str
    shots: str
    subject: str
    label: str
    category: str | None = None


@dataclass(frozen=True)
class Line:
    """One metric of one variant in both outputs.

    first, second: the means over the cells of which both outputs have the metric.
    difference: second − first, paired, with its 95 % interval.
    is_leading: whether it is the metric by which the variant is compared.
    """

    variant: Variant
    metric: Metric
    first: float
    second: float
    difference: PairedDifference
    is_leading: bool

    @property
    def differs(self) -> bool:
        """Whether the interval excludes zero. False for a single pair, which has no interval."""
        return self.difference.low > 0 or self.difference.high < 0


def lines(first: Output, second: Output, matching: Matching) -> list[Line]:
    """Compare each metric of each variant over all categories and, if there are several, in each category."""
    pairs = matching.pairs
    values = _values(first, [a for a, _ in pairs]), _values(second, [b for _, b in pairs])
    found: list[Line] = []
    for variant, own in _variants(matching).items():
        categories: dict[str, list[Pair]] = {}
        for pair in own:
            categories.setdefault(pair[0]["category"], []).append(pair)
        found += _lines(variant, own, *values)
        for category, of_category in categories.items() if len(categories) > 1 else ():
            found += _lines(replace(variant, category=category), of_category, *values)
    return found


def _variants(matching: Matching) -> dict[Variant, list[Pair]]:
    named = _named(matching)
    variants: dict[Variant, list[Pair]] = {}
    for a, b in matching.pairs:
        one, other = (own[row["fingerprint"]] for own, row in zip(matching.described, (a, b), strict=True))
        columns = (f"{name}={_both(one[name], other[name])}" for name in named[a["arm"]])
        subject, label = _both(one[SUBJECT], other[SUBJECT]), " ".join([a["arm"], *columns])
        variants.setdefault(Variant(a["dataset"], a["shots"], subject, label), []).append((a, b))
    return variants


def _named(matching: Matching) -> dict[str, list[str]]:
    """Return for each arm the columns to show in labels, which are the columns with several values in its pairs."""
    seen: dict[str, dict[str, Any]] = {}
    several: dict[str, dict[str, None]] = {}
    for pair in matching.pairs:
        arm = pair[0]["arm"]
        for row, descriptions in zip(pair, matching.described, strict=True):
            own = descriptions[row["fingerprint"]]
            first = seen.setdefault(arm, dict(own))
            several.setdefault(arm, {}).update((name, None) for name in own if first[name] != own[name])
    return {arm: [name for name in first if name in several[arm] and name != SUBJECT] for arm, first in seen.items()}


def _both(first: Any, second: Any) -> str:
    one, other = (f"{value:g}" if isinstance(value, float) else str(value) for value in (first, second))
    return one if one == other else f"{one}|{other}"


def _lines(variant: Variant, pairs: Sequence[Pair], first: Values, second: Values) -> Iterator[Line]:
    leading = leading_metric([row for pair in pairs for row in pair])
    measured = [(first[a["fingerprint"]], second[b["fingerprint"]]) for a, b in pairs]
    names = {name for own, _ in measured for name in own}
    for metric in sorted(declared.METRICS, key=lambda metric: metric != leading):
        name = metric.name
        both = [(a[name], b[name]) for a, b in measured if name in a and name in b] if name in names else []
        if both:
            of_first, of_second = (dict(enumerate(values)) for values in zip(*both, strict=True))
            difference = paired_difference(of_second, of_first)
            means = mean_std(of_first.values()).mean, mean_std(of_second.values()).mean
            yield Line(variant, metric, *means, difference, metric == leading)


def _values(output: Output, rows: Sequence[Row]) -> Values:
    """Return the defined metrics of some rows, from their columns and from ``metrics/`` for the whole test set."""
    columns = [metric.name for metric in declared.columns()]
    found = {row["fingerprint"]: {name: row[name] for name in columns if row.get(name) is not None} for row in rows}
    table = output.results.read("metrics", ["fingerprint", "subset", "metric", "value"])
    wanted = pc.and_(
        pc.is_in(table["subset"], pa.array([ALL, IMAGE_SET])),
        pc.is_in(table["fingerprint"], pa.array([*found], pa.string())),
    )
    for line in table.filter(pc.and_(wanted, pc.is_finite(table["value"]))).to_pylist():
        found[line["fingerprint"]].setdefault(line["metric"], line["value"])
    return found
