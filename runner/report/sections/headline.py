"""The headline of a study: means, paired differences and the chosen point, in sentences that a reader may quote."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from goodshot.components.metrics.declared import metric_of
from goodshot.components.metrics.summary import CLAIM_SEEDS, PairedDifference, mean_std, paired_difference
from goodshot.runner.arms import baselines
from goodshot.runner.console.terminal import difference
from goodshot.runner.report.context import StudyContext
from goodshot.runner.report.points import point_text
from goodshot.runner.report.sections.base import Section
from goodshot.runner.report.summary import counted
from goodshot.runner.report.templates import render
from goodshot.runner.results.comparison import Row, leading_metric, subject_of, variant_label

# (category, support_seed, seed): the key by which the rows of two arms are paired.
Unit = tuple[Any, ...]
Scores = Mapping[Unit, float]


@dataclass(frozen=True)
class Means:
    """The mean of one detector's leading metric for each variant, over the cells that all variants have.

    means: (variant, mean) pairs.
    over: the number of categories and cells, in words.
    verdicts: a sentence for each pair of a variant and a baseline.
    """

    subject: str
    metric: str
    means: tuple[tuple[str, float], ...]
    over: str
    verdicts: tuple[str, ...]


@dataclass(frozen=True)
class HeadlineContent:
    """The content of the headline. ``chosen`` is empty unless the study has several points."""

    means: Sequence[Means]
    chosen: str
    caution: str


class Headline(Section[HeadlineContent]):
    """Tiles of means, a sentence for each pair of arms, the chosen point, and a caution about small samples."""

    def gather(self, study: StudyContext) -> HeadlineContent:
        """Summarise the compared rows; a sweep has no means, because they would mix its points."""
        means: Sequence[Means] = () if study.is_sweep else _means(study.shown)
        return HeadlineContent(means, _chosen_sentence(study), _caution(study))

    def html(self, study: StudyContext, shown: HeadlineContent) -> str:
        """Render the headline, or a sentence if there is no row to compare."""
        return render("sections/headline.html.j2", study=study, shown=shown)


def _means(rows: Sequence[Row]) -> list[Means]:
    """Return the means of each detector; a detector without a cell that all variants have is left out."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(subject_of(row), []).append(row)
    by_subject = (_means_of(subject, subject_rows) for subject, subject_rows in groups.items())
    return [means for means in by_subject if means is not None]


def _means_of(subject: str, rows: Sequence[Row]) -> Means | None:
    metric = leading_metric(rows)
    scores: dict[str, dict[Unit, float]] = {}
    for row in rows:
        if metric is not None and (value := row[metric.name]) is not None:
            scores.setdefault(variant_label(row), {})[row["category"], row["support_seed"], row["seed"]] = value
    common = set.intersection(*map(set, scores.values())) if scores else set()
    if metric is None or not common:
        return None
    categories = sorted({unit[0] for unit in common})
    means = tuple((label, _mean_over(categories, values, common)) for label, values in scores.items())
    everything = counted(len({row["category"] for row in rows}), "category", "categories")
    of = everything if everything.startswith(f"{len(categories)} ") else f"{len(categories)} of {everything}"
    over = f"{of}, {counted(len(common), 'cell')} per arm"
    bases = [arm.label for arm in baselines() if arm.label in scores]
    pairs = ((label, base) for label in scores if label not in bases for base in bases)
    verdicts = tuple(_verdict(a, b, paired_difference(scores[a], scores[b])) for a, b in pairs)
    return Means(subject, metric.title, means, over, verdicts)


def _mean_over(categories: Sequence[str], scores: Scores, common: set[Unit]) -> float:
    """Return the mean over categories of the mean over each category's supports."""
    by_category = ([scores[unit] for unit in sorted(common, key=str) if unit[0] == c] for c in categories)
    return mean_std(mean_std(values).mean for values in by_category).mean


def _verdict(arm: str, baseline: str, value: PairedDifference) -> str:
    counts = f"{value.wins} better, {value.losses} worse, {value.ties} equal"
    if value.n < 2:
        return f"{arm} vs {baseline}: {difference(value)} in {counted(value.n, 'pair')}, so without an interval."
    reading = "includes" if value.low <= 0 <= value.high else "excludes"
    return (
        f"{arm} vs {baseline}: {difference(value)} over {value.n} pairs ({counts}); the 95 % interval {reading} zero."
    )


def _caution(study: StudyContext) -> str:
    """Return how strong a conclusion the number of supports allows."""
    supports = len({(row["support_seed"], row["seed"]) for row in study.shown})
    pairs = "Pairs of one category share its test images, so the pooled interval may be too narrow."
    if supports >= CLAIM_SEEDS:
        return pairs
    few = f"{counted(supports, 'support')} per category, fewer than {CLAIM_SEEDS}: a report, not a claim."
    return f"{few} {pairs}" if supports > 1 and not study.is_sweep else few


@dataclass(frozen=True)
class _ChosenPoint:
    """The point with the best objective of ``count`` points: its values, its objective, the judged arm's rows."""

    point: Mapping[str, Any]
    value: float
    rows: Sequence[Row]
    count: int


def _chosen_sentence(study: StudyContext) -> str:
    """Name the point that the study's objective prefers. Empty with one point, or if no point has a value."""
    objective = metric_of(study.study.objective)
    chosen = _chosen_from_trials(study) if study.trials else _chosen_from_rows(study)
    if chosen is None:
        return ""
    fair = objective.objective == "fair"
    return (
        f"{objective.in_words or objective.title}, the study's objective, prefers {point_text(chosen.point)} "
        f"({objective.name} {chosen.value:.3f}) among {chosen.count} points{_leading_means(study, chosen.rows)}. "
        + ("Test labels chose nothing." if fair else "Test labels chose it (oracle).")
    )


def _leading_means(study: StudyContext, rows: Sequence[Row]) -> str:
    """``: image AUROC 0.805, original 0.705``: the rows' leading metric, and that of baselines without a point."""
    metric = leading_metric(rows)
    if metric is None or not rows:
        return ""
    groups = {metric.title: rows}
    for arm in baselines():
        if not arm.point_fields:
            groups[arm.label] = [row for row in study.shown if row["arm"] == arm.label]
    measured = {name: [v for row in group if (v := row[metric.name]) is not None] for name, group in groups.items()}
    return ": " + ", ".join(f"{name} {mean_std(values).mean:.3f}" for name, values in measured.items() if values)


def _chosen_from_trials(study: StudyContext) -> _ChosenPoint | None:
    """Return the chosen trial's point; None if no trial has a value."""
    if study.chosen is None or study.chosen.best is None:
        return None
    judged, fingerprints = study.study.judged_arm.label, {*study.chosen_cells}
    rows = [row for row in study.rows if row["fingerprint"] in fingerprints and row["arm"] == judged]
    return _ChosenPoint(study.chosen.point, study.chosen.best.value, rows, len(study.trials))


def _chosen_from_rows(study: StudyContext) -> _ChosenPoint | None:
    """Choose a point by the rows of a sweep, for an ``--out`` from before trials were recorded."""
    objective, judged = study.study.objective, study.study.judged_arm
    points: dict[tuple[Any, ...], list[Row]] = {}
    for row in study.rows if study.is_sweep and judged.point_fields else ():
        value = row[objective]
        if row["arm"] == judged.label and value is not None and math.isfinite(value):
            points.setdefault(tuple(row[c] for c in judged.point_fields), []).append(row)
    if not points:
        return None
    means = {point: mean_std(row[objective] for row in rows).mean for point, rows in points.items()}
    best = max(means, key=lambda point: means[point])
    return _ChosenPoint(dict(zip(judged.point_fields, best, strict=True)), means[best], points[best], len(points))
