"""The spread over supports, which a mean hides: a dot for each support of each variant."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import altair as alt

from goodshot.components.metrics.declared import Metric
from goodshot.runner.console.terminal import shortened
from goodshot.runner.report.blocks import Block, Chart, Text, block_name
from goodshot.runner.report.charts import chart, data
from goodshot.runner.report.context import StudyContext, support_label
from goodshot.runner.report.sections.base import Section
from goodshot.runner.results.comparison import Comparison

NOTE = (
    "A point is one support, a grey line joins the arms of one support, a bar is the mean. All categories share one "
    "scale."
)
LABEL_LINES = "split(replace(datum.label, regexp('=', 'g'), '= '), ' ')"
"""A variant's label in several lines: its words, a field apart from its value."""


class Supports(Section):
    """A chart for each category and detector of a study with one point."""

    name = "supports"
    title = "The spread over supports"

    def blocks(self, study: StudyContext) -> Iterator[Block]:
        """Yield a chart for each category and detector; nothing for a sweep, and if there is no value."""
        groups: dict[tuple[str, str, Metric], list[Comparison]] = {}
        for c in study.comparisons if not study.is_sweep else ():
            if c.compared is not None and any(map(math.isfinite, c.values(c.compared).values())):
                groups.setdefault((str(c.table["category"]), c.subject, c.compared), []).append(c)
        limits = {metric: _limits(metric, study.comparisons) for _, _, metric in groups}
        for (category, subject, metric), variants in groups.items():
            title = category if study.has_one_subject else f"{category}, {subject}"
            yield Chart(
                name=block_name(self.name, category, subject),
                title=shortened(title),
                specification=_chart(variants, metric, limits[metric]),
                description=f"Dot plot: {metric.title} of every support by arm, {title}",
            )
        if groups:
            yield Text(NOTE, "note")


def _limits(metric: Metric, comparisons: Iterable[Comparison]) -> tuple[float, float]:
    """Return one range for all charts of a study, so that spreads can be compared between categories."""
    values = [v for c in comparisons if c.compared == metric for v in c.values(metric).values() if math.isfinite(v)]
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = 0.04 * (high - low) + 0.004
    return low - margin, high + margin


def _chart(variants: Sequence[Comparison], metric: Metric, limits: tuple[float, float]) -> Mapping[str, Any]:
    """Draw the metric of each support by variant, with a line for each support; unfinished cells are left out."""
    labels = list(dict.fromkeys(c.label for c in variants))
    colours = alt.Scale(domain=labels, range=[next(c.arm.colour for c in variants if c.label == n) for n in labels])
    x = alt.X("variant:N", sort=labels, title=None, axis=alt.Axis(labelAngle=0, labelExpr=LABEL_LINES))
    y = alt.Y("value:Q", title=metric.title, scale=alt.Scale(domain=list(limits), nice=False))
    base = alt.Chart(data("supports")).encode(x=x, y=y)
    tooltip = [alt.Tooltip("support:N"), alt.Tooltip("variant:N"), alt.Tooltip("value:Q", format=".4f")]
    drawn = alt.layer(
        base.mark_line(color="#9a9a9a", strokeWidth=1, opacity=0.7).encode(detail="support:N"),
        base.mark_circle(size=46, opacity=1).encode(
            color=alt.Color("variant:N", scale=colours, legend=None), tooltip=tooltip
        ),
        alt.Chart(data("means"))
        .mark_tick(thickness=3, width=28)
        .encode(x=x, y=y, color=alt.Color("variant:N", scale=colours, legend=None)),
    ).properties(width=max(200, len(labels) * _step(labels)), height=210)
    return chart(drawn, supports=list(_dots(variants, metric)), means=list(_means(variants, metric)))


def _step(labels: Sequence[str]) -> int:
    """The width of a variant in pixels, in which the longest word of the labels fits."""
    return max(70, 12 + 6 * max(len(word) for label in labels for word in label.replace("=", "= ").split(" ")))


def _dots(variants: Sequence[Comparison], metric: Metric) -> Iterator[dict[str, Any]]:
    for c in variants:
        for seed, value in c.values(metric).items():
            if math.isfinite(value):
                yield {"variant": c.label, "support": support_label(c.rows[seed]), "value": value}


def _means(variants: Sequence[Comparison], metric: Metric) -> Iterator[dict[str, Any]]:
    for c in variants:
        mean = c.mean(metric)
        if mean is not None and math.isfinite(mean.mean):
            yield {"variant": c.label, "value": mean.mean}
