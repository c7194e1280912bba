"""The gain of each generated image set against its similarity and its variance (the paper's Fig. 2)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np

from goodshot.components.metrics.declared import Metric
from goodshot.components.metrics.detection import IMAGE_SET
from goodshot.runner.arms import arm_of_row, originals_alone
from goodshot.runner.report.blocks import Block, Chart, Column, Table, TableCell, Text, Value, block_name
from goodshot.runner.report.charts import GREEN, SERIES, chart, data, series_colours, spread
from goodshot.runner.report.context import StudyContext
from goodshot.runner.report.sections.base import Section
from goodshot.runner.report.values import number_value
from goodshot.runner.results.comparison import Row, leading_metric, subject_of, variant_label

LEAST = 3
"""With fewer image sets there is neither a chart nor a correlation."""
MOST_DOTS = 1000
"""At most this many image sets are drawn, evenly spaced; the correlations are over all of them."""


@dataclass(frozen=True)
class Property:
    """A property of an image set: a column of ``results/``, or ``subset/metric`` of ``metrics/``."""

    source: str
    title: str

    def value(self, study: StudyContext, row: Row) -> float | None:
        """The property of a row's image set; None if it is undefined or was not measured."""
        subset, is_long, name = self.source.rpartition("/")
        metrics: Mapping[Any, Any] = study.output.metrics.get(row["fingerprint"], {})
        value = metrics.get((subset, name)) if is_long else row.get(name)
        return float(value) if value is not None and math.isfinite(value) else None


PROPERTIES = (
    Property("similarity", "similarity to the prompt"),
    Property(f"{IMAGE_SET}/original_similarity_lite0", "similarity to the photograph (lite0)"),
    Property(f"{IMAGE_SET}/pixel_variance", "variance of the pixels"),
)


@dataclass(frozen=True)
class Dot:
    """One image set: its property, and the gain of the detector that it was added for over the originals alone."""

    row: Row
    baseline: Row
    x: float
    gain: float


@dataclass(frozen=True)
class Correlation:
    """The gains of one detector against one property, with Pearson's and Spearman's correlation."""

    subject: str
    metric: Metric
    against: Property
    dots: Sequence[Dot]
    pearson: float
    spearman: float


class Scatter(Section):
    """A chart for each detector and property, and a table of the correlations."""

    name = "scatter"
    title = "Gain against similarity and variance"

    def blocks(self, study: StudyContext) -> Iterator[Block]:
        """Yield the charts and the table; nothing with fewer than three generated image sets that have a gain."""
        found = list(_correlations(study))
        if not found:
            return
        base = originals_alone()
        yield Text(
            f"A dot is one generated image set: the detector's gain over {base.in_words} on the same support, against "
            "a property of the set.",
            "note",
        )
        yield from (_chart(study, own) for own in found)
        yield _table(study, found)


def _correlations(study: StudyContext) -> Iterator[Correlation]:
    groups: dict[str, list[Row]] = {}
    for row in study.rows:
        groups.setdefault(subject_of(row), []).append(row)
    for subject, rows in groups.items():
        metric = leading_metric(rows)
        for against in PROPERTIES if metric is not None and metric.objective != "fair" else ():
            assert metric is not None  # noqa: S101 - for the type checker
            dots = list(_dots(study, rows, metric, against))
            if len(dots) >= LEAST:
                yield Correlation(subject, metric, against, dots, *_correlated(dots))


def _dots(study: StudyContext, rows: Sequence[Row], metric: Metric, against: Property) -> Iterator[Dot]:
    base = originals_alone()

    def key(row: Row) -> tuple[Any, ...]:
        return row["category"], row["support_seed"], row["seed"]

    alone = {key(row): row for row in rows if row["arm"] == base.label and _is_finite(row.get(metric.name))}
    for row in (row for row in rows if not arm_of_row(row["arm"]).is_baseline):
        x, baseline = against.value(study, row), alone.get(key(row))
        if x is not None and baseline is not None and _is_finite(row.get(metric.name)):
            yield Dot(row, baseline, x, float(row[metric.name]) - float(baseline[metric.name]))


def _is_finite(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _correlated(dots: Sequence[Dot]) -> tuple[float, float]:
    """Pearson's r and Spearman's ρ; NaN if all properties or all gains are equal."""
    xs, gains = np.array([dot.x for dot in dots]), np.array([dot.gain for dot in dots])
    if len(np.unique(xs)) < 2 or len(np.unique(gains)) < 2:
        return math.nan, math.nan
    return float(np.corrcoef(xs, gains)[0, 1]), float(np.corrcoef(_ranks(xs), _ranks(gains))[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """The rank of each value; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    means: np.ndarray = np.cumsum(counts) - (counts - 1) / 2
    return means[inverse]


def _chart(study: StudyContext, own: Correlation) -> Chart:
    of = "" if study.has_one_subject else f", {own.subject}"
    return Chart(
        name=block_name("gain by", own.against.title, own.subject),
        title=f"Gain by {own.against.title}{of}",
        specification=_drawn(own),
        description=(
            f"Scatter plot: gain in {own.metric.title} of {len(own.dots)} image sets by {own.against.title}{of}; "
            f"{_statistics(own)}"
        ),
        notes=[_statistics(own)],
    )


def _statistics(own: Correlation) -> str:
    return f"Pearson r = {_text(own.pearson)}, Spearman ρ = {_text(own.spearman)}, n = {len(own.dots)}."


def _text(correlation: float) -> str:
    return f"{correlation:+.2f}".replace("-", "−") if math.isfinite(correlation) else "undefined"


def _drawn(own: Correlation) -> Mapping[str, Any]:
    shown = own.dots[:: math.ceil(len(own.dots) / MOST_DOTS)]
    categories = list(dict.fromkeys(str(dot.row["category"]) for dot in shown))
    colour: Any = alt.value(GREEN)
    if 1 < len(categories) <= len(SERIES):
        legend = alt.Legend(orient="bottom", columns=3)
        colour = alt.Color("category:N", title=None, scale=series_colours(categories), legend=legend)
    base = alt.Chart(data("dots"))
    x = alt.X("x:Q", title=own.against.title, scale=spread(dot.x for dot in shown))
    y = alt.Y("gain:Q", title=f"gain in {own.metric.title}")
    tooltip = [alt.Tooltip(f"{name}:N") for name in ("category", "trained on", "x", "gain")]
    drawn = alt.layer(
        base.mark_circle(size=36, opacity=0.75).encode(x=x, y=y, color=colour, tooltip=tooltip),
        base.transform_regression("x", "gain").mark_line(color="#8c8c8c", strokeDash=[4, 3]).encode(x=x, y=y),
    ).properties(width=340, height=240)
    return chart(drawn, dots=[_row(dot) for dot in shown])


def _row(dot: Dot) -> dict[str, Any]:
    own = {"category": str(dot.row["category"]), "trained on": variant_label(dot.row)}
    return {**own, "x": float(f"{dot.x:.5g}"), "gain": round(dot.gain, 5)}


def _table(study: StudyContext, found: Sequence[Correlation]) -> Table:
    return Table(
        name="correlations",
        title="Correlation of the gain with properties of the image set",
        columns=[
            *([] if study.has_one_subject else [Column("detector", "detector")]),
            Column("property", "property"),
            Column("pearson", "Pearson r"),
            Column("spearman", "Spearman ρ"),
            Column("n", "image sets"),
        ],
        lines=[_line(study, own) for own in found],
    )


def _line(study: StudyContext, own: Correlation) -> list[TableCell]:
    rows = tuple(dict.fromkeys(r["fingerprint"] for dot in own.dots for r in (dot.row, dot.baseline)))
    values = (
        Value(number if math.isfinite(number) else None, _text(number), rows, own.metric.name)
        for number in (own.pearson, own.spearman)
    )
    subject = [] if study.has_one_subject else [own.subject]
    return [*subject, own.against.title, *values, number_value(len(own.dots), str(len(own.dots)))]
