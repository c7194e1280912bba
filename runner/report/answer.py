"""The answer to a study's question in words: which arm beats which baseline, on how many categories, by how much."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from goodshot.components.metrics.declared import Metric
from goodshot.components.metrics.summary import PairedDifference, mean_std, paired_difference
from goodshot.runner.arms import arm_of_row, baselines
from goodshot.runner.report.blocks import Value
from goodshot.runner.report.context import StudyContext
from goodshot.runner.report.points import point_text
from goodshot.runner.report.summary import counted, listed
from goodshot.runner.results.comparison import Row, leading_metric, subject_of, variant_label

MOST_VARIANTS = 2
"""Up to this many variants have an answer each; with more variants, only the default ones have."""


class Unit(NamedTuple):
    """The key by which the rows of two arms are paired."""

    category: str
    support_seed: int | None
    seed: int


@dataclass(frozen=True)
class Scored:
    """The rows of one detector at one point: for each variant the value of the leading metric by unit.

    rows: the fingerprint of each of these values. categories: the number of categories that have any row.
    """

    subject: str
    metric: Metric
    scores: Mapping[str, Mapping[Unit, float]]
    rows: Mapping[str, Mapping[Unit, str]]
    categories: int

    @property
    def common(self) -> set[Unit]:
        """The units that all variants have."""
        return set.intersection(*map(set, self.scores.values()))

    @property
    def baselines(self) -> list[str]:
        """The labels of the baselines among the variants."""
        return [arm.label for arm in baselines() if arm.label in self.scores]

    def mean(self, label: str, units: set[Unit]) -> Value:
        """The mean over categories of a variant's mean over each category's supports."""
        own, ordered = self.scores[label], sorted(units, key=str)
        by_category = _by_category({unit: own[unit] for unit in ordered})
        mean = mean_std(by_category.values()).mean
        return Value(mean, f"{mean:.3f}", tuple(self.rows[label][unit] for unit in ordered), self.metric.name)

    def pairs(self) -> Iterator[tuple[str, str, PairedDifference]]:
        """Yield each variant with each baseline and their difference over all units that both have."""
        for label, base in self._pairs():
            yield label, base, paired_difference(self.scores[label], self.scores[base])

    def _pairs(self) -> Iterator[tuple[str, str]]:
        yield from ((label, base) for label in self.scores if label not in self.baselines for base in self.baselines)

    def answers(self, study: StudyContext) -> Iterator[str]:
        """Yield a sentence for each variant and baseline, the strictest baseline first; or why there is no answer."""
        prefix = "" if study.has_one_subject else f"{self.subject}: "
        at = _point(study)
        pairs = list(self._pairs()) or [(label, base) for base, label in pairwise(self.baselines)]
        if not pairs:
            yield f"{prefix}{self._without_a_pair()}"
        chief = self._chief(pairs)
        for label, base in reversed(chief):
            yield f"{prefix}{at}{self._answer(label, base)}"
        if len(chief) < len(pairs):
            yield f"{prefix}{at}{self._overview(pairs)}"

    def _chief(self, pairs: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
        """The pairs that have a sentence of their own: all of up to two variants, else those of each arm's default."""
        labels = list(dict.fromkeys(label for label, _ in pairs))
        if len(labels) <= MOST_VARIANTS:
            return pairs
        defaults = [label for label in labels if label == arm_of_row(label.partition(" ")[0]).label] or labels[:1]
        return [pair for pair in pairs if pair[0] in defaults]

    def _overview(self, pairs: Sequence[tuple[str, str]]) -> str:
        """How many of all variants beat the strictest baseline, and which is the best."""
        base = pairs[-1][1]
        differences = {a: paired_difference(self.scores[a], self.scores[base]) for a, b in pairs if b == base}
        defined = {label: paired for label, paired in differences.items() if math.isfinite(paired.mean)}
        in_words = arm_of_row(base).in_words or base
        if not defined:
            return f"None of the {len(differences)} variants can be compared with {in_words} yet."
        best = max(defined, key=lambda label: defined[label].mean)
        better = sum(paired.mean > 0 for paired in defined.values())
        return (
            f"{better or 'None'} of {len(defined)} variants {'beats' if better < 2 else 'beat'} {in_words} in the "
            f"mean; the best of them is {best}{_points(defined[best])}"
        )

    def _without_a_pair(self) -> str:
        labels, metric = list(self.scores), self.metric.title
        means = listed([f"{mean_std(_by_category(self.scores[n]).values()).mean:.3f} with {n}" for n in labels])
        known = [arm.label for arm in baselines()]
        missing = (
            "only one arm was measured" if len(labels) == 1 else f"no baseline ({' or '.join(known)}) was measured"
        )
        return f"The mean {metric} is {means}; {missing}, so no gain can be stated."

    def _answer(self, label: str, base: str) -> str:
        ours, theirs = self.scores[label], self.scores[base]
        units = [unit for unit in ours if unit in theirs]
        in_words = arm_of_row(base).in_words or base
        if not units:
            return f"{label} and {in_words} have no cell in common yet, so they cannot be compared."
        own, other = _by_category({u: ours[u] for u in units}), _by_category({u: theirs[u] for u in units})
        over = counted(len(own), "category", "categories")
        if len(own) > 1:
            paired = paired_difference(own, other)
        else:
            paired = paired_difference({u: ours[u] for u in units}, theirs)
            over = f"{counted(len(units), 'support')} of {units[0].category}"
        equal = f" and is equal on {paired.ties}" if paired.ties else ""
        return f"{label} beats {in_words} on {paired.wins} of {over}{equal} in {self.metric.title}{_points(paired)}"


def _points(paired: PairedDifference) -> str:
    """``: mean +0.4 points [−0.2, +1.0], an interval that includes zero.``"""
    if not math.isfinite(paired.mean):
        return "; the mean difference is undefined, because a value is."
    mean = f": mean {_signed(paired.mean)} points"
    if not math.isfinite(paired.low):
        return f"{mean}, from one pair and so without an interval."
    reading = "includes" if paired.low <= 0 <= paired.high else "excludes"
    return f"{mean} [{_signed(paired.low)}, {_signed(paired.high)}], an interval that {reading} zero."


def _signed(share: float) -> str:
    """A share as signed percentage points; "z" formats a value that rounds to −0 as 0."""
    return f"{100 * share:+z.1f}".replace("-", "−")


def _point(study: StudyContext) -> str:
    if not study.is_sweep:
        return ""
    if study.chosen is not None and study.chosen.best is not None:
        return f"At the chosen point ({point_text(study.chosen.point)}), "
    return "At the last declared point, "


def scored(study: StudyContext) -> list[Scored]:
    """Return the values of each detector at the point that the study is judged at; of a sweep, the chosen point."""
    rows = [study.row(cell) for cell in study.point_cells] if study.is_sweep else study.shown
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(subject_of(row), []).append(row)
    found = (_scored(subject, own) for subject, own in groups.items())
    return [own for own in found if own is not None]


def _scored(subject: str, rows: Sequence[Row]) -> Scored | None:
    metric = leading_metric(rows)
    scores: dict[str, dict[Unit, float]] = {}
    fingerprints: dict[str, dict[Unit, str]] = {}
    for row in rows:
        if metric is not None and (value := row[metric.name]) is not None:
            unit, label = Unit(row["category"], row["support_seed"], row["seed"]), variant_label(row)
            scores.setdefault(label, {})[unit] = value
            fingerprints.setdefault(label, {})[unit] = row["fingerprint"]
    if metric is None or not scores:
        return None
    return Scored(subject, metric, scores, fingerprints, len({row["category"] for row in rows}))


def _by_category(values: Mapping[Unit, float]) -> dict[str, float]:
    """The mean of each category."""
    groups: dict[str, list[float]] = {}
    for unit, value in values.items():
        groups.setdefault(unit.category, []).append(value)
    return {category: mean_std(own).mean for category, own in groups.items()}
