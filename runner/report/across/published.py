"""The experiment's results beside the numbers that the paper prints, each with its difference and its setting."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from goodshot.components.metrics.declared import metric_of
from goodshot.components.metrics.detection import ALL, IMAGE_SET
from goodshot.components.metrics.summary import MeanStd
from goodshot.runner.console.terminal import mean_std_text
from goodshot.runner.report.across.base import AcrossSection
from goodshot.runner.report.blocks import Block, Column, Table, TableCell, Text, Value
from goodshot.runner.report.experiment import ExperimentContext
from goodshot.runner.results.published import Beside, beside

COLUMNS = (
    Column("source", "source"),
    Column("quantity", "quantity"),
    Column("measured_with", "measured here with"),
    Column("over", "over", "categories × supports"),
    Column("published_value", "published"),
    Column("here", "here", "mean over categories; ± is the deviation between supports"),
    Column("points", "here − published", "in percentage points, or in the metric's own unit if it is no fraction"),
    Column("relative", "relative", "as a fraction of the published number"),
    Column("setting", "setting", "how the number was measured, and what is different here"),
)


class Published(AcrossSection):
    """A table with a line for each published number and each variant that measures the same quantity."""

    name = "published"
    title = "Comparison with published numbers"

    def blocks(self, experiment: ExperimentContext) -> Iterator[Block]:
        """Return the table, and what it rests on; nothing for an experiment without published numbers."""
        papers = [reference for reference in experiment.record.references if reference.kind == "paper"]
        if not papers:
            return
        found = beside(papers, experiment.rows, experiment.metrics)
        if found:
            yield Text(_setting_sentence(found))
            doubts = dict.fromkeys(f"{b.reference.source}: {b.reference.doubt}." for b in found if b.reference.doubt)
            yield Table("published", "Beside the published numbers", COLUMNS, [*map(_line, found)], [*doubts])
        measured = {id(line.reference) for line in found}
        missing = [reference for reference in papers if id(reference) not in measured]
        if missing:
            some = "; ".join(dict.fromkeys(reference.source for reference in missing[:3]))
            yield Text(
                f"{len(missing)} of {len(papers)} published numbers have no row here that measures the same quantity, "
                f"for example {some}.",
                "note",
            )


def _setting_sentence(found: Sequence[Beside]) -> str:
    """Say whether the comparison is a repetition of the paper or rests on substitutes."""
    changed: dict[str, tuple[Any, Any]] = {}
    for line in found:
        changed |= line.substitutes
    if not changed:
        return "The rows were measured in the paper's setting, as far as the paper states it."
    return f"No repetition of the paper's setting: {_substitutes(changed)}."


def _substitutes(changed: Mapping[str, tuple[Any, Any]]) -> str:
    return ", ".join(f"{column} {here} instead of {paper}" for column, (paper, here) in changed.items())


def _line(line: Beside) -> list[TableCell]:
    reference, own = line.reference, line.own
    is_fraction = abs(reference.value) <= 1 and (reference.over is not None or metric_of(reference.metric).is_fraction)
    if reference.over:
        paper = Value(reference.value, f"{100 * reference.value:+.1f} %")
        here = Value(own.mean, _gain_text(own, line.unit), line.rows, _metric(line))
    else:
        paper = Value(reference.value, mean_std_text(MeanStd(reference.value, _or_nan(reference.spread))))
        here = Value(own.mean, mean_std_text(own), line.rows, _metric(line))
    difference = line.difference
    points = f"{100 * difference:+.1f}" if is_fraction else f"{difference:+.3g}"
    relative = line.relative_difference
    return [
        reference.source,
        _quantity(line),
        f"{line.label}, {line.subject}",
        f"{line.categories} × {line.supports}",
        paper,
        here,
        Value(100 * difference if is_fraction else difference, points.replace("-", "−")),
        None if math.isnan(relative) else Value(relative, f"{100 * relative:+.1f} %".replace("-", "−")),
        _setting(line),
    ]


def _setting(line: Beside) -> str:
    changed = f"here {_substitutes(line.substitutes)}" if line.substitutes else ""
    return "; ".join(filter(None, (line.reference.setting, changed)))


def _gain_text(own: MeanStd, unit: str) -> str:
    spread = "" if math.isnan(own.std) else f" ± {100 * own.std:.1f}"
    text = f"{100 * own.mean:+.1f}{spread}".replace("-", "−")
    return f"{text} points" if unit == "points" else f"{text} %"


def _quantity(line: Beside) -> str:
    reference = line.reference
    title = metric_of(reference.metric).title
    subset = "" if reference.subset in (ALL, IMAGE_SET) else f" of {reference.subset.replace('_', ' ')}"
    if not reference.over:
        return f"{title}{subset}"
    reading = f", read as {line.unit}" if reference.unit == "unstated" else ""
    return f"gain in {title}{subset} over {reference.over}{reading}"


def _metric(line: Beside) -> str:
    """The quantity that was read from each row."""
    reference = line.reference
    return reference.metric if reference.subset == ALL else f"{reference.subset}/{reference.metric}"


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
