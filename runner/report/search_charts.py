"""The charts of a search: the objective by each field, by the order of the trials, and by L."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

import altair as alt

from goodshot.runner.declaration.points import title_of
from goodshot.runner.declaration.search import Range
from goodshot.runner.report.blocks import Chart, block_name
from goodshot.runner.report.charts import GREY, VERMILLION, chart, data
from goodshot.runner.report.points import Tried, point_text, value_text
from goodshot.runner.results.trials import TrialRecord
from goodshot.runner.study.search import space_of

MOST_CATEGORIES = 8
"""Up to this many listed numbers are categories, evenly spaced on the axis; more have a numeric axis."""
MANY = 300
"""With more trials, dots and lines are thin."""
DRAWN_TRIALS = 1000
"""A chart shows at most this many trials: the best half of them, and as many of the others, evenly spaced."""
CHOSEN = VERMILLION


def by_field(tried: Tried) -> Iterator[Chart]:
    """Draw the objective of every trial by each field that varies, a chart for each field."""
    limits = _limits(tried)
    for field in tried.drawn:
        x, rows = _x_axis(tried, field)
        shift = {"xOffset": alt.XOffset("shift:Q", scale=alt.Scale(domain=[-6, 6]))} if "shift" in rows[0] else {}
        drawn = alt.layer(*_dots(tried, x, limits, **shift)).properties(width=230, height=200)
        yield Chart(
            name=block_name("search by", field),
            title=_axis_label(field),
            specification=chart(drawn, trials=rows),
            description=f"Dot plot: {tried.study.objective} of every trial by {field}",
        )


def by_order(tried: Tried) -> Chart:
    """Draw the objective of every trial by the trial's number, and the best value so far."""
    values = [trial.best.value if trial.best else -math.inf for trial in tried.trials]
    best = [{"number": i, "best": v} for i, v in enumerate(accumulate(values, max), start=1) if math.isfinite(v)]
    margin = 0.5 + 0.01 * len(tried.trials)
    domain = alt.Scale(domain=[1 - margin, len(tried.trials) + margin], nice=False)
    x = alt.X("number:Q", title="trial", axis=alt.Axis(tickMinStep=1, format="d"), scale=domain)
    y = alt.Y("best:Q", title=tried.study.objective, scale=_scale(_limits(tried)))
    rows = [{**row, "point": point_text(trial.point)} for trial, row in _rows(tried)]
    steps = alt.Chart(data("best")).mark_line(interpolate="step-after", color=GREY).encode(x=x, y=y)
    drawn = alt.layer(steps, *_dots(tried, x, _limits(tried), alt.Tooltip("point:N"))).properties(width=400, height=220)
    return Chart(
        name="search_by_order",
        title="In the order of their start",
        specification=chart(drawn, trials=rows, best=_changes(best)),
        description=(
            f"Dot plot: {tried.study.objective} of every trial in the order of their start, and the best so far"
        ),
    )


def _changes(best: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the trials at which the best value changes, and the last one."""
    changed = [row for i, row in enumerate(best) if i == 0 or row["best"] != best[i - 1]["best"]]
    return [*changed, *best[-1:]]


def by_length(tried: Tried) -> Chart:
    """Draw the objective that each trial reported over L; the line of a trial that was stopped ends early."""
    lengths = sorted(tried.study.iterations)
    # Such L usually grow by a factor.
    scale = alt.Scale(type="log") if lengths[-1] >= 4 * lengths[0] else alt.Scale(zero=False)
    shown = lengths[:: math.ceil(len(lengths) / MOST_CATEGORIES)]
    states = alt.Scale(domain=["chosen", "complete", "other"], range=[CHOSEN, tried.study.judged_arm.colour, GREY])
    base = alt.Chart(data("reports")).encode(
        x=alt.X("iterations:Q", title="iterations L", scale=scale, axis=alt.Axis(values=list(shown), format="d")),
        y=alt.Y("value:Q", title=tried.study.objective, scale=alt.Scale(zero=False)),
        color=alt.Color("state:N", scale=states, legend=None),
        detail="number:O",
    )
    width = 1.2 if len(tried.trials) <= MANY else 0.5
    drawn = alt.layer(
        base.mark_line(strokeWidth=width, opacity=0.8),
        base.transform_filter("datum.state == 'chosen'").mark_line(strokeWidth=3),
        base.transform_filter("datum.last").mark_circle(size=30 * width, opacity=1),
    ).properties(width=400, height=220)
    return Chart(
        name="search_by_length",
        title="By L",
        specification=chart(drawn, reports=list(_reports(tried))),
        description=f"Line chart: {tried.study.objective} that every trial reported over L",
    )


def _reports(tried: Tried) -> Iterator[dict[str, Any]]:
    for number, trial in _drawn(tried):
        reports = [report for report in trial.reports if math.isfinite(report.value)]
        state = "chosen" if trial == tried.chosen else "complete" if trial.state == "complete" else "other"
        for report in reports:
            row = {"number": number, "iterations": report.iterations, "value": round(report.value, 5), "state": state}
            yield {**row, "last": True} if report == reports[-1] else row


def _drawn(tried: Tried) -> list[tuple[int, TrialRecord]]:
    """Return the trials with a value and their numbers, thinned to ``DRAWN_TRIALS``."""
    numbered = [(number, trial) for number, trial in enumerate(tried.trials, start=1) if trial.best]
    if len(numbered) <= DRAWN_TRIALS:
        return numbered
    ordered = sorted(numbered, key=lambda pair: -pair[1].best.value if pair[1].best else 0.0)
    best, others = ordered[: DRAWN_TRIALS // 2], ordered[DRAWN_TRIALS // 2 :]
    step = math.ceil(len(others) / (DRAWN_TRIALS // 2))
    return sorted([*best, *others[::step]], key=lambda pair: pair[0])


def _rows(tried: Tried) -> Iterator[tuple[TrialRecord, dict[str, Any]]]:
    for number, trial in _drawn(tried):
        row: dict[str, Any] = {"number": number, "value": round(trial.best.value, 5) if trial.best else None}
        if trial.state == "complete":
            row["complete"] = 1
        if trial == tried.chosen:
            row["chosen"] = 1
        yield trial, row


def _dots(tried: Tried, x: alt.X, limits: tuple[float, float], *tips: alt.Tooltip, **channels: Any) -> list[alt.Chart]:
    """Draw a dot for each trial with a value: filled if complete, else hollow and grey; a ring marks the chosen one."""
    size, colour = (16 if len(tried.trials) > MANY else 40), tried.study.judged_arm.colour
    y = alt.Y("value:Q", title=tried.study.objective, scale=_scale(limits))
    tooltip = [alt.Tooltip("number:Q", title="trial"), alt.Tooltip("value:Q", format=".4f"), *tips]
    base = alt.Chart(data("trials")).encode(x=x, y=y, tooltip=tooltip, **channels)
    return [
        base.transform_filter("!datum.complete").mark_point(size=size, color=GREY, filled=False),
        base.transform_filter("datum.complete").mark_point(size=size, color=colour, filled=True, opacity=1),
        base.transform_filter("datum.chosen").mark_point(size=220, color=CHOSEN, filled=False, strokeWidth=2.5),
    ]


def _limits(tried: Tried) -> tuple[float, float]:
    """Return the range of the objective, the same in all charts of a search."""
    values = [trial.best.value for trial in tried.trials if trial.best]
    margin = 0.06 * (max(values) - min(values)) or 0.01
    return min(values) - margin, max(values) + margin


def _scale(limits: tuple[float, float]) -> alt.Scale:
    return alt.Scale(domain=list(limits), nice=False)


def _x_axis(tried: Tried, field: str) -> tuple[alt.X, list[dict[str, Any]]]:
    """Return the axis of a field, and the trials with their place on it."""
    declared = space_of(tried.study)[field]
    rows = [{**row, "x": trial.values.get(field)} for trial, row in _rows(tried)]
    title = _axis_label(field)
    if isinstance(declared, Range):
        whole = all(isinstance(row["x"], int) for row in rows)
        return alt.X("x:Q", title=title, **_range_axis(declared, whole)), rows
    if _are_numbers(declared) and len(declared) > MOST_CATEGORIES:
        return alt.X("x:Q", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=5)), rows
    categories = [value_text(v) for v in (sorted(declared) if _are_numbers(declared) else declared)]
    rows = [{**row, "x": value_text(row["x"])} for row in rows]
    angle = -30 if sum(map(len, categories)) > 26 else 0
    return alt.X("x:N", title=title, sort=categories, axis=alt.Axis(labelAngle=angle)), _shifted(rows)


def _shifted(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Shift trials of one category sideways, so that dots of equal values do not cover each other."""
    counts: dict[Any, int] = {}
    shifted = []
    for row in rows:
        count = counts[row["x"]] = counts.get(row["x"], -1) + 1
        shifted.append({**row, "shift": (count + 1) // 2 % 3 * (-1) ** count})
    return shifted


def _range_axis(declared: Range, whole: bool) -> dict[str, Any]:
    """Show the whole declared range, with few ticks because the chart is narrow; ``whole`` puts them at integers."""
    if declared.log:
        margin = (declared.high / declared.low) ** 0.06
        domain = [declared.low / margin, declared.high * margin]
        axis = alt.Axis(tickCount=4, format="~g")
        return {"scale": alt.Scale(type="log", domain=domain, nice=False), "axis": axis}
    margin = 0.06 * (declared.high - declared.low)
    axis = alt.Axis(tickCount=5, **({"tickMinStep": 1, "format": "d"} if whole else {"format": "~g"}))
    domain = [declared.low - margin, declared.high + margin]
    return {"scale": alt.Scale(domain=domain, nice=False, zero=False), "axis": axis}


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _axis_label(field: str, length: int = 36) -> str:
    """Return the field's name with its symbol; a long path keeps only its end, by which fields differ."""
    label = title_of(field)
    return label if len(label) <= length else f"…{label[1 - length :]}"
