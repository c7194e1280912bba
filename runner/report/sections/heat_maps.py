"""The points of a sweep: the mean of each metric over λ × L, in one panel for each number of copies."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import altair as alt

from goodshot.components.metrics.declared import Metric, shown_in
from goodshot.components.metrics.summary import mean_std
from goodshot.runner.declaration.points import COPIES, ITERATIONS, SWEPT, VQ_WEIGHT
from goodshot.runner.report.blocks import Block, Chart, Text, block_name
from goodshot.runner.report.charts import chart, data, spread
from goodshot.runner.report.context import StudyContext
from goodshot.runner.report.sections.base import Section
from goodshot.runner.results.comparison import Row, subject_of

NOTE = "Means over the study's categories and supports; the panels of one figure share its colour scale."
PANELS = 3
"""Number of panels in one row."""


class HeatMaps(Section):
    """A chart for each detector and metric of a sweep's judged arm."""

    name = "heat_maps"
    title = "Every point of the sweep"

    def blocks(self, study: StudyContext) -> Iterator[Block]:
        """Yield the charts; nothing unless the study is a sweep whose judged arm depends on λ, copies and L."""
        charts = list(_charts(study))
        yield from charts
        if charts:
            yield Text(NOTE, "note")


def _charts(study: StudyContext) -> Iterator[Chart]:
    for subject, rows in swept_rows(study).items():
        for metric in shown_in("heat_maps"):
            if means := _means(rows, metric):
                title = f"{metric.title}, {subject}"
                yield Chart(
                    name=block_name("heat_map", metric.name, subject),
                    title=title,
                    specification=_chart(means, metric),
                    description=f"Heatmap: {title} over vq_weight and iterations for each number of copies",
                )


def swept_rows(study: StudyContext) -> dict[str, list[Row]]:
    """Return the judged arm's rows of each detector; empty unless the study is a sweep over λ, copies and L."""
    arm = study.study.judged_arm
    groups: dict[str, list[Row]] = {}
    if study.is_sweep and {*SWEPT} <= {*arm.point_fields}:
        for row in study.rows:
            if row["arm"] == arm.label:
                groups.setdefault(subject_of(row), []).append(row)
    return groups


def _means(rows: Sequence[Row], metric: Metric) -> list[dict[str, Any]]:
    """Return the mean over categories and supports of each point that has a value."""
    values: defaultdict[tuple[Any, ...], list[float]] = defaultdict(list)
    for row in rows:
        value = row.get(metric.name)
        if value is not None and math.isfinite(value):
            values[tuple(row[name] for name in SWEPT)].append(value)
    return [
        {**dict(zip(SWEPT, point, strict=True)), "value": mean_std(own).mean, "cells": len(own)}
        for point, own in sorted(values.items())
    ]


def _chart(means: Sequence[Mapping[str, Any]], metric: Metric) -> Mapping[str, Any]:
    values = [point["value"] for point in means]
    middle = (min(values) + max(values)) / 2
    base = alt.Chart().encode(
        x=alt.X(f"{ITERATIONS.name}:O", title=ITERATIONS.title, axis=alt.Axis(labelAngle=0)),
        y=alt.Y(f"{VQ_WEIGHT.name}:O", title=VQ_WEIGHT.title, sort="descending"),
    )
    colour = alt.Color("value:Q", title=metric.title, scale=spread(values, scheme="viridis"))
    tooltip = [alt.Tooltip(f"{name}:O") for name in SWEPT]
    cells = base.mark_rect().encode(
        color=colour, tooltip=[*tooltip, alt.Tooltip("value:Q", format=".4f"), alt.Tooltip("cells:Q")]
    )
    ink = alt.when(f"datum.value < {middle!r}").then(alt.value("white")).otherwise(alt.value("black"))
    texts = base.mark_text(fontSize=11).encode(text=alt.Text("value:Q", format=".3f"), color=ink)
    drawn = (
        alt.layer(cells, texts, data=data())
        .properties(width=alt.Step(46), height=alt.Step(26))
        .facet(facet=alt.Facet(f"{COPIES.name}:O", title=COPIES.title), columns=PANELS)
    )
    return chart(drawn, rows=means)
