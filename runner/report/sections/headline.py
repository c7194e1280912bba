"""The headline of a study: sentences with the answer to its question and the chosen point, and a table of means."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from goodshot.components.metrics.declared import metric_of
from goodshot.components.metrics.summary import CLAIM_SEEDS, PairedDifference, mean_std
from goodshot.runner.arms import baselines
from goodshot.runner.console.terminal import difference
from goodshot.runner.report.answer import Scored, scored
from goodshot.runner.report.blocks import Block, Column, Table, Text, Value, block_name
from goodshot.runner.report.context import StudyContext
from goodshot.runner.report.points import point_text
from goodshot.runner.report.sections.base import Section
from goodshot.runner.report.summary import counted
from goodshot.runner.results.comparison import Row, leading_metric


class Headline(Section):
    """The answer for each detector, means with their differences, the chosen point, and a caution."""

    name = "headline"
    title = ""

    def blocks(self, study: StudyContext) -> Iterator[Block]:
        """Yield the sentences and a table of means, or a sentence if there is no row to compare."""
        if not study.rows:
            yield Text("No cell of this study has finished yet.")
            return
        if not study.shown:
            yield Text("There is no row of a chosen point yet, so there is nothing to compare.")
            return
        of_subjects = scored(study)
        if not of_subjects:
            yield Text("No metric of the results has a value in these rows, so nothing can be compared.")
        for own in of_subjects:
            yield from (Text(sentence, "answer") for sentence in own.answers(study))
        # A sweep gets no table of means, because the means would mix rows of different points.
        for own in of_subjects if not study.is_sweep else ():
            yield from _means(study, own)
        if chosen := _chosen_sentence(study):
            yield Text(chosen)
        yield Text(_caution(study), "note")


def _means(study: StudyContext, own: Scored) -> Iterator[Block]:
    """Yield a table of each variant's mean over the cells that all variants have, and its differences to baselines."""
    common = own.common
    if not common:
        return
    of = "" if study.has_one_subject else f" of {own.subject}"
    categories = len({unit.category for unit in common})
    everything = counted(own.categories, "category", "categories")
    over = everything if categories == own.categories else f"{categories} of {everything}"
    against: dict[str, dict[str, PairedDifference]] = {base: {} for base in own.baselines}
    for label, base, paired in own.pairs():
        against[base][label] = paired
    against = {base: pairs for base, pairs in against.items() if pairs}
    yield Table(
        name=block_name("means", own.subject),
        title=f"Mean {own.metric.title}{of} over {over}, {counted(len(common), 'cell')} per arm",
        columns=[
            Column("trained_on", "trained on"),
            Column("mean", f"mean {own.metric.title}"),
            *(Column(block_name("minus", base), f"− {base}", _PAIRED) for base in against),
        ],
        lines=[
            [label, own.mean(label, common), *(_paired(pairs.get(label)) for pairs in against.values())]
            for label in own.scores
        ],
    )


_PAIRED = "the mean paired difference with its 95 % interval, and in how many pairs it is better : worse : equal"


def _paired(value: PairedDifference | None) -> Value | None:
    """A table's value such as ``+0.012 [−0.030, +0.054] · 9:4:1``; only the difference if there is no interval."""
    if value is None:
        return None
    counts = f" · {value.wins}:{value.losses}:{value.ties}" if value.n > 1 else ""
    return Value(value.mean if math.isfinite(value.mean) else None, f"{difference(value)}{counts}")


def _caution(study: StudyContext) -> str:
    """A sentence that says how strong a conclusion the number of supports allows."""
    supports = len({(row["support_seed"], row["seed"]) for row in study.shown})
    pairs = "Pairs of one category share its test images, so the pooled interval may be too narrow."
    if supports >= CLAIM_SEEDS:
        return pairs
    few = f"{counted(supports, 'support')} per category, fewer than {CLAIM_SEEDS}: a report, not a claim."
    return f"{few} {pairs}" if supports > 1 and not study.is_sweep else few


@dataclass(frozen=True)
class _ChosenPoint:
    """The point with the best objective.

    point: the values of the point's fields.
    value: the objective of the point.
    rows: the rows of the judged arm at the point.
    count: the number of points among which it was chosen.
    """

    point: Mapping[str, Any]
    value: float
    rows: Sequence[Row]
    count: int


def _chosen_sentence(study: StudyContext) -> str:
    """A sentence that names the point with the best objective; empty with one point, or if no point has a value."""
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
    """A text such as ``: image AUROC 0.805, original 0.705``, or an empty text.

    It states the mean of the leading metric over ``rows``, and over the rows of each baseline that is independent of
    points.
    """
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
    """The point of the chosen trial; None if no trial has a value."""
    if study.chosen is None or study.chosen.best is None:
        return None
    judged, fingerprints = study.study.judged_arm.label, {*study.chosen_cells}
    rows = [row for row in study.rows if row["fingerprint"] in fingerprints and row["arm"] == judged]
    return _ChosenPoint(study.chosen.point, study.chosen.best.value, rows, len(study.trials))


def _chosen_from_rows(study: StudyContext) -> _ChosenPoint | None:
    """The point with the best mean objective of a sweep's rows, for an ``--out`` whose version recorded no trials."""
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
