"""What the rows say in words that a reader may quote: means and paired differences, and the chosen point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.metrics.declared import metric_of
from components.metrics.summary import CLAIM_SEEDS, PairedDifference, mean_std, paired_difference
from runner.arms import baselines
from runner.console.terminal import difference
from runner.report.context import StudyContext
from runner.report.points import point_text
from runner.report.sections.base import Section
from runner.report.summary import counted
from runner.report.templates import render
from runner.results.comparison import Row, leading_metric, subject_of, variant_label

# (category, support_seed, seed): what two arms are paired by.
Unit = tuple[Any, ...]
Scores = Mapping[Unit, float]


@dataclass(frozen=True)
class Means:
    """The mean of one detector's first metric by variant, over the cells that all variants have, and the verdicts."""

    subject: str
    metric: str
    means: tuple[tuple[str, float], ...]
    over: str
    verdicts: tuple[str, ...]


@dataclass(frozen=True)
class Said:
    """The whole headline. ``chosen`` is empty unless there are several points."""

    means: Sequence[Means]
    chosen: str
    caution: str


class Headline(Section[Said]):
    """Tiles of means, a sentence for each pair of arms, the chosen point, and how much may be claimed."""

    def gather(self, study: StudyContext) -> Said:
        """From the rows that are compared."""
        return Said(() if study.is_sweep else _means(study.shown), _chosen_point(study), _caution(study))

    def html(self, study: StudyContext, shown: Said) -> str:
        """Without a row to compare, a sentence that says so."""
        return render("sections/headline.html.j2", study=study, shown=shown)


def _means(rows: Sequence[Row]) -> list[Means]:
    """One for each detector; none where no cell is shared by all variants."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(subject_of(row), []).append(row)
    found = (_means_of(subject, own) for subject, own in groups.items())
    return [means for means in found if means is not None]


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
    means = tuple((label, _mean_over(categories, own, common)) for label, own in scores.items())
    over = f"{counted(len(categories), 'category', 'categories')}, {counted(len(common), 'cell')} per arm"
    bases = [arm.label for arm in baselines() if arm.label in scores]
    pairs = ((label, base) for label in scores if label not in bases for base in bases)
    verdicts = tuple(_verdict(a, b, paired_difference(scores[a], scores[b])) for a, b in pairs)
    return Means(subject, metric.title, means, over, verdicts)


def _mean_over(categories: Sequence[str], scores: Scores, common: set[Unit]) -> float:
    """The mean over categories of the mean over their supports."""
    by_category = ([scores[unit] for unit in sorted(common, key=str) if unit[0] == c] for c in categories)
    return mean_std(mean_std(values).mean for values in by_category).mean


def _verdict(arm: str, baseline: str, value: PairedDifference) -> str:
    counts = f"{value.wins} better, {value.losses} worse, {value.ties} equal"
    if value.n < 2:
        return f"{arm} vs {baseline}: {difference(value) or '–'} in {counted(value.n, 'pair')}, so without an interval."
    reading = "includes" if value.low <= 0 <= value.high else "excludes"
    return (
        f"{arm} vs {baseline}: {difference(value)} over {value.n} pairs ({counts}); the 95 % interval {reading} zero."
    )


def _caution(study: StudyContext) -> str:
    """What the number of supports allows one to say."""
    supports = len({(row["support_seed"], row["seed"]) for row in study.shown})
    pairs = "Pairs of one category share its test images, so the pooled interval may be too narrow."
    if supports >= CLAIM_SEEDS:
        return pairs
    few = f"{counted(supports, 'support')} per category, fewer than {CLAIM_SEEDS}: a report, not a claim."
    return f"{few} {pairs}" if supports > 1 and not study.is_sweep else few


@dataclass(frozen=True)
class _Chosen:
    """A point, its objective, the rows of the judged arm, and among how many points it is the best."""

    point: Mapping[str, Any]
    value: float
    rows: Sequence[Row]
    among: int


def _chosen_point(study: StudyContext) -> str:
    """Of several points: the one that the study's objective prefers. Empty if none has a value."""
    objective = metric_of(study.study.objective)
    found = _chosen_trial(study) if study.trials else _chosen_rows(study)
    if found is None:
        return ""
    fair = objective.objective == "fair"
    return (
        f"{objective.in_words or objective.title}, the study's objective, prefers {point_text(found.point)} "
        f"({objective.name} {found.value:.3f}) among {found.among} points{_worth(study, found.rows)}. "
        + ("Test labels chose nothing." if fair else "Test labels chose it (oracle).")
    )


def _worth(study: StudyContext, rows: Sequence[Row]) -> str:
    """``: image AUROC 0.805, original 0.705``: beside the point, the baselines that are the same at every point."""
    metric = leading_metric(rows)
    if metric is None or not rows:
        return ""
    groups = {metric.title: rows}
    for arm in baselines():
        if not arm.point_fields:
            groups[arm.label] = [row for row in study.shown if row["arm"] == arm.label]
    values = {name: [v for row in own if (v := row[metric.name]) is not None] for name, own in groups.items()}
    return ": " + ", ".join(f"{name} {mean_std(own).mean:.3f}" for name, own in values.items() if own)


def _chosen_trial(study: StudyContext) -> _Chosen | None:
    """As the trials tell it."""
    if study.chosen is None or study.chosen.best is None:
        return None
    judged, own = study.study.judged_arm.label, {*study.chosen_cells}
    rows = [row for row in study.rows if row["fingerprint"] in own and row["arm"] == judged]
    return _Chosen(study.chosen.point, study.chosen.best.value, rows, len(study.trials))


def _chosen_rows(study: StudyContext) -> _Chosen | None:
    """As the rows of a declared sweep tell it that left no trials."""
    objective, judged = study.study.objective, study.study.judged_arm
    points: dict[tuple[Any, ...], list[Row]] = {}
    for row in study.rows if study.is_sweep and judged.point_fields else ():
        if row["arm"] == judged.label and row[objective] is not None:
            points.setdefault(tuple(row[c] for c in judged.point_fields), []).append(row)
    if not points:
        return None
    means = {point: mean_std(row[objective] for row in own).mean for point, own in points.items()}
    best = max(means, key=lambda point: means[point])
    return _Chosen(dict(zip(judged.point_fields, best, strict=True)), means[best], points[best], len(points))
