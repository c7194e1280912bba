"""The study's variants beside the methods of a publication's table: a line for each, a column for each metric."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from goodshot.components.metrics.declared import METRICS, Metric
from goodshot.components.metrics.detection import ALL
from goodshot.runner.console.terminal import mean_std_text
from goodshot.runner.report.across.base import AcrossSection
from goodshot.runner.report.blocks import Block, Column, Table, TableCell, Value, block_name
from goodshot.runner.report.experiment import ExperimentContext
from goodshot.runner.report.summary import listed
from goodshot.runner.results.comparison import Row
from goodshot.runner.results.published import Beside, LongMetrics, measured
from goodshot.runner.study.experiment import Reference

OF_ALL = {"dataset", "arm", "shots"}
"""The columns that a mean over all categories of a table may name."""


class Methods(AcrossSection):
    """Tables in the publications' own layout, for experiments that cite methods which do not run here."""

    name = "methods"
    title = "Beside other methods"

    def blocks(self, experiment: ExperimentContext) -> Iterator[Block]:
        """Return a table for each dataset for which methods are cited by several metrics."""
        printed = [reference for reference in experiment.record.references if _is_mean(reference)]
        shown = [row for comparison in experiment.comparisons for row in comparison.rows.values()]
        for dataset, shots in dict.fromkeys((row["dataset"], row["shots"]) for row in shown):
            own = [reference for reference in printed if _is_of(reference, dataset, shots)]
            cited = {reference.metric for reference in own if reference.kind == "field"}
            if len(cited) > 1:
                rows = [row for row in shown if (row["dataset"], row["shots"]) == (dataset, shots)]
                yield _table(f"{dataset}, shots {shots}", own, cited, rows, experiment.metrics)


def _is_mean(reference: Reference) -> bool:
    whole = reference.over is None and reference.subset == ALL and reference.mean_over == ("category",)
    return whole and reference.where.keys() <= OF_ALL


def _is_of(reference: Reference, dataset: str, shots: str) -> bool:
    return reference.where.get("dataset") == dataset and reference.where.get("shots", shots) == shots


def _table(
    setting: str, printed: Sequence[Reference], cited: set[str], rows: Sequence[Row], metrics: LongMetrics
) -> Table:
    here = {metric.name: measured(metric.name, rows, metrics) for metric in METRICS if _stands_for(metric, cited)}
    shown = [metric for metric in METRICS if metric.name in cited or here.get(metric.name)]
    columns = [Column("method", "method"), Column("measured", "measured"), Column("categories", "categories")]
    columns += [Column(metric.name, metric.full_title, "mean over categories") for metric in shown]
    own, left_out = _own(here, shown)
    lines = [*_published(printed, shown), *own]
    notes = [f"{each.source}, {each.metric}: {each.doubt}." for each in printed if each.doubt]
    notes += [
        "Published values have the published digits, percentages as fractions. Of values measured here, ± is the "
        "deviation between supports, and a metric whose name ends in the name of a network was measured with that "
        "substitute."
    ]
    if left_out:
        notes += [f"Measured at several points of a sweep, of which the first is shown: {listed(left_out)}."]
    return Table(block_name("methods", setting), f"Methods on {setting}", columns, lines, notes)


def _stands_for(metric: Metric, cited: set[str]) -> bool:
    """Whether the metric is cited, or replaces a cited one because a substitute network measured it."""
    return any(metric.name == name or metric.name.startswith(f"{name}_") for name in cited)


def _published(printed: Sequence[Reference], shown: Sequence[Metric]) -> Iterator[list[TableCell]]:
    by_source: dict[str, dict[str, Reference]] = {}
    for reference in printed:
        by_source.setdefault(reference.source, {})[reference.metric] = reference
    for source, values in by_source.items():
        cells = [values.get(metric.name) for metric in shown]
        yield [source, "published", None, *(Value(c.value, f"{c.value:g}") if c else None for c in cells)]


def _own(here: dict[str, list[Beside]], shown: Sequence[Metric]) -> tuple[list[list[TableCell]], list[str]]:
    """Return a line for each variant, or for each of its subjects if several measure one metric.

    The second list names the lines whose variant has further points of a sweep, which have no line.
    """
    several = any(len({found.subject for found in own}) > 1 for own in here.values())
    lines: dict[str, dict[str, Beside]] = {}
    left_out: dict[str, None] = {}
    for metric, own in here.items():
        for found in own:
            name = f"{found.label}, {found.subject}" if several else found.label
            if metric in lines.setdefault(name, {}):
                left_out[name] = None
            else:
                lines[name][metric] = found
    cells = [[name, "here", *_measured_cells(values, shown)] for name, values in lines.items()]
    return cells, [*left_out]


def _measured_cells(values: dict[str, Beside], shown: Sequence[Metric]) -> Iterator[TableCell]:
    yield ", ".join(map(str, sorted({found.categories for found in values.values()})))
    for metric in shown:
        found = values.get(metric.name)
        yield Value(found.own.mean, mean_std_text(found.own), found.rows, metric.name) if found else None
