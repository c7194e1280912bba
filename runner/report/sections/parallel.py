"""The points of a sweep or search as parallel coordinates: one line for each point, coloured by the objective."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from goodshot.components.metrics.declared import metric_of
from goodshot.components.metrics.summary import mean_std
from goodshot.runner.declaration.points import symbol_of
from goodshot.runner.report.blocks import Block, Chart
from goodshot.runner.report.charts import GREY, chart, data, spread
from goodshot.runner.report.context import StudyContext
from goodshot.runner.report.points import Tried, point_text, value_text
from goodshot.runner.report.sections.base import Section
from goodshot.runner.results.comparison import Row, leading_metric

MOST_TICKS = 6
"""An axis with more values than this has marks at its ends and its middle only, and a linear scale."""
MOST_LINES = 400
"""At most this many points are drawn: the best half of them, and as many of the others, evenly spaced."""
WIDTH = 130
"""The distance between two axes."""


@dataclass(frozen=True)
class Point:
    """A point: its fields, and the means of the objective and of the judged arm's leading metric.

    values: all of these by the names of their axes. measured: those of the axes that are means. objective: its mean.
    """

    values: Mapping[str, Any]
    measured: frozenset[str]
    objective: float


class ParallelCoordinates(Section):
    """One chart of all points."""

    name = "parallel"
    title = "All points together"

    def blocks(self, study: StudyContext) -> Iterator[Block]:
        """Yield the chart; nothing for fewer than three points with a value, or if fewer than two fields vary."""
        points = _points(study)
        axes = _axes(points)
        if len(points) < 3 or len(axes) < 3:
            return
        objective, shown = metric_of(study.study.objective), _thinned(points)
        notes = ["A line is a point; its colour is the objective."]
        if len(shown) < len(points):
            notes.append(f"{len(shown)} of {len(points)} points are drawn, the best ones among them.")
        yield Chart(
            name=self.name,
            title=f"{', '.join(axes)}",
            specification=_chart(shown, axes, objective.title),
            description=f"Parallel coordinates: {len(shown)} points by {', '.join(axes)}",
            notes=notes,
        )


def _points(study: StudyContext) -> list[Point]:
    """Return the tried points with a value; for a sweep without recorded trials, those of its rows."""
    judged, objective = study.study.judged_arm, study.study.objective
    if not study.trials:
        return _points_of_rows(study) if study.is_sweep else []
    fields = Tried(study.study, study.trials, study.chosen).drawn
    points = []
    for trial in study.trials:
        if trial.best is None:
            continue
        rows = [
            row for f in trial.best.fingerprints if (row := study.output.rows.get(f)) and row["arm"] == judged.label
        ]
        values = {symbol_of(field): trial.point.get(field) for field in fields}
        points.append(_point(values, trial.best.value, rows, objective))
    return points


def _points_of_rows(study: StudyContext) -> list[Point]:
    judged, objective = study.study.judged_arm, study.study.objective
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in study.rows:
        if row["arm"] == judged.label and row[objective] is not None:
            groups.setdefault(tuple(row[field] for field in judged.point_fields), []).append(row)
    names = [symbol_of(field) for field in judged.point_fields]
    return [
        _point(dict(zip(names, at, strict=True)), mean_std(row[objective] for row in rows).mean, rows, objective)
        for at, rows in groups.items()
    ]


def _point(values: Mapping[str, Any], value: float, rows: Sequence[Row], objective: str) -> Point:
    measured = {metric_of(objective).title: value}
    leading = leading_metric(rows)
    if leading is not None and leading.name != objective:
        own = [row[leading.name] for row in rows if row[leading.name] is not None]
        measured[leading.title] = mean_std(own).mean
    return Point({**values, **measured}, frozenset(measured), value)


def _axes(points: Sequence[Point]) -> list[str]:
    """The names of the axes: fields and metrics in which the points differ."""
    names = dict.fromkeys(name for point in points for name in point.values)
    return [name for name in names if len({value_text(point.values.get(name)) for point in points}) > 1]


def _thinned(points: Sequence[Point]) -> list[Point]:
    ordered = sorted(points, key=lambda point: point.objective)
    if len(ordered) <= MOST_LINES:
        return ordered
    others, best = ordered[: -MOST_LINES // 2], ordered[-MOST_LINES // 2 :]
    return [*others[:: math.ceil(len(others) / (MOST_LINES // 2))], *best]


def _chart(points: Sequence[Point], axes: Sequence[str], objective: str) -> Mapping[str, Any]:
    """Draw a point as a row of positions, which Vega-Lite folds into a line over the axes: the data stay small."""
    measured = frozenset[str]().union(*(point.measured for point in points))
    scales = [_scale([point.values.get(axis) for point in points], axis in measured) for axis in axes]
    columns = [f"a{i}" for i in range(len(axes))]
    names = f"{json.dumps(list(axes))}[+slice(datum.value, 1)]"
    x_axis = alt.Axis(orient="top", labelAngle=0, labelExpr=names, labelLimit=WIDTH - 10, domain=False, ticks=False)
    x = alt.X("axis:N", sort=columns, title=None, axis=x_axis)
    y = alt.Y("position:Q", axis=None, scale=alt.Scale(domain=[-0.05, 1.05], nice=False))
    colour = alt.Color(
        "objective:Q", title=objective, scale=spread((point.objective for point in points), scheme="viridis")
    )
    lines = alt.Chart(data("points")).mark_line(opacity=0.75, strokeWidth=1.5)
    lines = lines.transform_fold(columns, as_=["axis", "position"]).transform_filter("isValid(datum.position)")
    ticks = alt.Chart(data("ticks"))
    drawn = alt.layer(
        alt.Chart(data("axes")).mark_rule(color=GREY).encode(x=x),
        lines.encode(x=x, y=y, color=colour, detail="number:O", tooltip=[alt.Tooltip("text:N", title="point")]),
        ticks.mark_tick(color=GREY, thickness=1, width=8, orient="horizontal").encode(x=x, y=y),
        ticks.mark_text(align="left", dx=7, fontSize=11, fontWeight="bold").encode(x=x, y=y, text="label:N"),
    ).properties(width=WIDTH * len(axes), height=260)
    return chart(
        drawn,
        points=[_row(number, point, axes, scales) for number, point in enumerate(points)],
        ticks=[{"axis": f"a{i}", **tick} for i, (_, own) in enumerate(scales) for tick in own],
        axes=[{"axis": column} for column in columns],
    )


Scale = tuple[Mapping[str, float], Sequence[Mapping[str, Any]]]
"""The position of each value by its text, and the ticks of the axis."""


def _row(number: int, point: Point, axes: Sequence[str], scales: Sequence[Scale]) -> dict[str, Any]:
    places = [
        positions.get(value_text(point.values.get(axis))) for axis, (positions, _) in zip(axes, scales, strict=True)
    ]
    row = {f"a{i}": round(position, 4) for i, position in enumerate(places) if position is not None}
    return {"number": number, **row, "objective": round(point.objective, 5), "text": point_text(point.values)}


def _scale(values: Sequence[Any], is_measured: bool) -> Scale:
    """Return the positions in [0, 1] of the values, and the axis's ticks.

    Few values of a field are evenly spaced, in their order; measured numbers, and many numbers, lie between the
    smallest and the largest.
    """
    distinct = sorted({value_text(v): v for v in values if not _is_undefined(v)}.items(), key=_order)
    is_listed = len(distinct) <= MOST_TICKS and not is_measured
    if is_listed or len(distinct) < 2 or not all(isinstance(v, int | float) for _, v in distinct):
        positions = {text: i / max(1, len(distinct) - 1) for i, (text, _) in enumerate(distinct)}
        return positions, [{"position": position, "label": text} for text, position in positions.items()]
    low, high = float(distinct[0][1]), float(distinct[-1][1])
    middle = (low + high) / 2
    ticks = [{"position": (v - low) / (high - low), "label": f"{v:.3g}"} for v in (low, middle, high)]
    return {text: (float(v) - low) / (high - low) for text, v in distinct}, ticks


def _is_undefined(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _order(pair: tuple[str, Any]) -> tuple[bool, Any]:
    text, value = pair
    is_number = isinstance(value, int | float)
    return (not is_number, value if is_number else text)
