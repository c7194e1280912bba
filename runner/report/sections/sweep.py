"""λ, copies and L of a sweep, one at a time: the mean over categories or supports and its 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from goodshot.components.metrics.declared import Metric, shown_in
from goodshot.components.metrics.summary import PairedDifference, mean_std, paired_difference
from goodshot.runner.arms import Arm, baselines
from goodshot.runner.console.terminal import difference
from goodshot.runner.declaration.points import SWEPT, symbol_of, title_of
from goodshot.runner.report.blocks import Block, Chart, Column, Table, TableCell, Text, Value, block_name
from goodshot.runner.report.charts import chart, data, spread
from goodshot.runner.report.context import StudyContext
from goodshot.runner.report.sections.base import Section
from goodshot.runner.report.sections.heat_maps import swept_rows
from goodshot.runner.report.values import number_value
from goodshot.runner.results.comparison import Row, leading_metric, subject_of

FACTOR = 4
"""An axis is logarithmic if its largest value is this many times its smallest: such values usually grow by a factor."""


@dataclass(frozen=True)
class Series:
    """The drawn values of one metric: those of the judged arm, or their differences to a baseline.

    label, colour: the line's. values: the value and the fingerprints behind it, by row.
    """

    metric: Metric
    label: str
    colour: str
    values: Sequence[tuple[Row, float, tuple[str, ...]]]


@dataclass(frozen=True)
class Mean:
    """The mean of a series at one value of a field, with its interval, and the rows that it rests on."""

    series: Series
    field: str
    at: float
    mean: PairedDifference
    rows: tuple[str, ...]


class Sweep(Section):
    """A chart for each swept field and metric, and a table of what is drawn."""

    name = "sweep"
    title = "λ, copies and L"

    def blocks(self, study: StudyContext) -> Iterator[Block]:
        """Yield the charts and the table of each detector; nothing unless the study is a sweep of several values."""
        has_any = False
        for subject, rows in swept_rows(study).items():
            of = "" if study.has_one_subject else f", {subject}"
            means = [list(_means(own, field)) for own in _series(study, subject, rows) for field in _varied(rows)]
            by_chart: dict[tuple[str, str], list[Mean]] = {}
            for mean in (mean for own in means for mean in own):
                by_chart.setdefault((mean.field, mean.series.metric.name), []).append(mean)
            yield from (_chart(own, of) for own in by_chart.values())
            if by_chart:
                has_any = True
                yield _table(subject, of, [mean for own in by_chart.values() for mean in own])
        if has_any:
            yield Text(
                "Each dot is a mean over all other swept fields. Its 95 % interval is over categories, or over the "
                "supports of a single category; a difference is paired: each cell less the baseline of its support.",
                "note",
            )


def _varied(rows: Sequence[Row]) -> list[str]:
    return [field for field in SWEPT if len({row[field] for row in rows}) > 1]


def _series(study: StudyContext, subject: str, rows: Sequence[Row]) -> Iterator[Series]:
    """Yield the leading metric's gain over each baseline (without one, the metric), and metrics without test labels."""
    metric, judged = leading_metric(rows), study.study.judged_arm
    gains = []
    if metric is not None:
        gains = [own for arm in baselines() if (own := _gain(study, subject, rows, metric, arm)).values]
        yield from gains or [_plain(rows, metric, judged)]
    for fair in shown_in("heat_maps"):
        if fair.objective == "fair" and fair != metric and (own := _plain(rows, fair, judged)).values:
            yield own


def _plain(rows: Sequence[Row], metric: Metric, arm: Arm) -> Series:
    values = [(row, v, (row["fingerprint"],)) for row in rows if (v := _value(row, metric)) is not None]
    return Series(metric, arm.label, arm.colour, values)


def _gain(study: StudyContext, subject: str, rows: Sequence[Row], metric: Metric, baseline: Arm) -> Series:
    """The difference of each row to the baseline's row of the same support."""

    def key(row: Row) -> tuple[Any, ...]:
        return tuple(row[name] for name in ("category", "support_seed", "seed", *baseline.paired_by))

    theirs = {key(row): row for row in study.rows if row["arm"] == baseline.label and subject_of(row) == subject}
    values = []
    for row in rows:
        other = theirs.get(key(row))
        own, base = _value(row, metric), None if other is None else _value(other, metric)
        if other is not None and own is not None and base is not None:
            values.append((row, own - base, (row["fingerprint"], other["fingerprint"])))
    return Series(metric, f"− {baseline.label}", baseline.colour, values)


def _value(row: Row, metric: Metric) -> float | None:
    value = row.get(metric.name)
    return float(value) if value is not None and math.isfinite(value) else None


def _means(series: Series, field: str) -> Iterator[Mean]:
    for at in sorted({row[field] for row, _, _ in series.values}):
        own = [(row, value, rows) for row, value, rows in series.values if row[field] == at]
        fingerprints = dict.fromkeys(f for _, _, rows in own for f in rows)
        yield Mean(series, field, at, _interval((row, value) for row, value, _ in own), tuple(fingerprints))


def _interval(values: Iterable[tuple[Row, float]]) -> PairedDifference:
    """The mean over categories and its interval; with one category over its supports."""
    units: dict[tuple[Any, ...], list[float]] = {}
    for row, value in values:
        units.setdefault((row["category"], row["support_seed"], row["seed"]), []).append(value)
    of_supports = {unit: mean_std(own).mean for unit, own in units.items()}
    categories: dict[Any, list[float]] = {}
    for (category, *_), value in of_supports.items():
        categories.setdefault(category, []).append(value)
    own: Mapping[Any, float] = {category: mean_std(v).mean for category, v in categories.items()}
    own = own if len(own) > 1 else of_supports
    return paired_difference(own, dict.fromkeys(own, 0.0))


def _chart(means: Sequence[Mean], of: str) -> Chart:
    field, metric = means[0].field, means[0].series.metric
    series = list({mean.series.label: mean.series for mean in means}.values())
    is_gain = series[0].label.startswith("−")
    what = f"gain in {metric.title}" if is_gain else metric.title
    label = title_of(field)
    return Chart(
        name=block_name("sweep", field, metric.name, of),
        title=f"{what} by {symbol_of(field)}{of}",
        specification=_drawn(means, series, label, what, is_gain),
        description=f"Line chart: {what} by {field}{of}, means with 95 % intervals",
    )


def _drawn(means: Sequence[Mean], series: Sequence[Series], label: str, what: str, is_gain: bool) -> Mapping[str, Any]:
    at = sorted({mean.at for mean in means})
    is_log = at[0] > 0 and at[-1] >= FACTOR * at[0]
    scale = alt.Scale(type="log", nice=False) if is_log else alt.Scale(zero=False)
    colours = alt.Scale(domain=[own.label for own in series], range=[own.colour for own in series])
    legend = alt.Legend(orient="bottom") if len(series) > 1 or is_gain else None
    base = alt.Chart(data("means")).encode(
        x=alt.X(
            "at:Q", title=label, scale=scale, axis=alt.Axis(values=at, labelExpr="'' + datum.value", labelOverlap=True)
        ),
        color=alt.Color("series:N", title=None, scale=colours, legend=legend),
        tooltip=[alt.Tooltip("series:N"), alt.Tooltip("at:Q", title=label), alt.Tooltip("text:N", title="mean")],
    )
    y = alt.Y("mean:Q", title=what, scale=alt.Scale(zero=True) if is_gain else spread(mean.mean.mean for mean in means))
    layers = [base.mark_line(strokeWidth=2).encode(y=y), base.mark_circle(size=44, opacity=1).encode(y=y)]
    if any(math.isfinite(mean.mean.low) for mean in means):
        intervals = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=1.5, opacity=0.55)
        layers.insert(0, intervals.encode(y=alt.Y("low:Q", title=what), y2="high:Q"))
    drawn = alt.layer(*layers).properties(width=255, height=200)
    return chart(drawn, means=[_row(mean) for mean in means])


def _row(mean: Mean) -> dict[str, Any]:
    paired = mean.mean
    # Rounded, because means over the same numbers in another order differ in their last digits.
    interval = {"low": round(paired.low, 6), "high": round(paired.high, 6)} if math.isfinite(paired.low) else {}
    own = {"series": mean.series.label, "at": mean.at, "mean": round(paired.mean, 6), "text": difference(paired)}
    return {**own, **interval}


def _table(subject: str, of: str, means: Sequence[Mean]) -> Table:
    return Table(
        name=block_name("sweep", subject),
        title=f"Means by λ, copies and L{of}",
        columns=[
            Column("field", "field"),
            Column("at", "value"),
            Column("metric", "metric"),
            Column("compared", "arm, or baseline that it is compared with"),
            Column("mean", "mean, or mean difference [95 %]"),
            Column("n", "n", "the number of categories, or of supports of a single category"),
        ],
        lines=[_line(mean) for mean in means],
        folded=True,
    )


def _line(mean: Mean) -> list[TableCell]:
    metric = mean.series.metric
    return [
        mean.field,
        number_value(mean.at, f"{mean.at:g}"),
        metric.title,
        mean.series.label,
        Value(mean.mean.mean, difference(mean.mean), mean.rows, metric.name),
        number_value(mean.mean.n, str(mean.mean.n)),
    ]
