"""The charts of a search as SVG data URIs: the objective by field, by the order of the trials, and by L."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from goodshot.runner.declaration.search import Range
from goodshot.runner.report.drawing import GREY, RC, VERMILLION, svg
from goodshot.runner.report.points import SYMBOLS, Tried, value_text
from goodshot.runner.results.trials import TrialRecord
from goodshot.runner.study.search import space_of

PANELS = 4
"""Panels in one row of a figure."""
MOST_CATEGORIES = 8
"""Up to this many listed numbers are categories, evenly spaced on the axis; more have a numeric axis."""
MANY = 300
"""A chart of more trials is drawn as pixels, because their vector shapes would be most of the page's size."""
CHOSEN = VERMILLION
SPREAD = 0.12
"""The largest horizontal shift between dots of one category, in units of the axis."""


def by_field(tried: Tried) -> str:
    """Draw the objective of every trial by each field that varies, in one panel for each field."""
    fields = tried.drawn
    rows, columns = math.ceil(len(fields) / PANELS), min(len(fields), PANELS)
    with mpl.rc_context(RC):
        engine = ConstrainedLayoutEngine(hspace=0.08)
        figure = Figure(figsize=(2.7 * columns + 0.5, 2.7 * rows), layout=engine, dpi=120)
        panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
        for axes, field in zip(panels.flat, fields, strict=False):
            _dots(axes, tried, _x_positions(axes, tried, field))
            axes.set_xlabel(_axis_label(field), fontsize=9)
        for axes in panels.flat[len(fields) :]:
            axes.set_axis_off()
        for axes in panels[:, 0]:
            axes.set_ylabel(tried.study.objective)
        return svg(figure)


def by_order(tried: Tried) -> str:
    """Draw the objective of every trial by the trial's number, and the best value so far."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(5.4, 3.0), layout="constrained", dpi=120)
        axes = figure.subplots()
        numbers = list(range(1, len(tried.trials) + 1))
        values = [trial.best.value if trial.best else -math.inf for trial in tried.trials]
        best = [value if math.isfinite(value) else math.nan for value in accumulate(values, max)]
        margin = 0.5 + 0.01 * len(numbers)
        extended = [*numbers, numbers[-1] + margin]
        axes.step(extended, [*best, best[-1]], where="post", color="#555555", label="best so far")
        _dots(axes, tried, [float(number) for number in numbers])
        axes.set(title="In the order of their start", xlabel="trial", ylabel=tried.study.objective)
        axes.set_xlim(1 - margin, len(numbers) + margin)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.legend(fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
        return svg(figure)


def by_length(tried: Tried) -> str:
    """Draw the objective that each trial reported over L; the line of a trial that was stopped ends early."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(5.4, 3.0), layout="constrained", dpi=120)
        axes = figure.subplots()
        for trial in tried.trials:
            _line(axes, tried, trial)
        axes.set(title="By L", xlabel="iterations L", ylabel=tried.study.objective)
        _length_ticks(axes, sorted(tried.study.iterations))
        return svg(figure)


def _line(axes: Axes, tried: Tried, trial: TrialRecord) -> None:
    reports = [report for report in trial.reports if math.isfinite(report.value)]
    if not reports:
        return
    is_chosen, is_complete = trial == tried.chosen, trial.state == "complete"
    arm_colour = tried.study.judged_arm.colour
    colour, order = (CHOSEN, 3) if is_chosen else (arm_colour if is_complete else GREY, 2)
    lengths, values = [report.iterations for report in reports], [report.value for report in reports]
    width = 2 if is_chosen else 1 if len(tried.trials) <= MANY else 0.4
    style: dict[str, Any] = {"zorder": order, "rasterized": len(tried.trials) > MANY}
    axes.plot(lengths, values, color=colour, linewidth=width, **style)
    face = colour if is_complete else "white"
    axes.scatter(lengths[-1:], values[-1:], s=26 * width, facecolors=face, edgecolors=colour, **style)


def _length_ticks(axes: Axes, lengths: Sequence[int]) -> None:
    """Put ticks at the declared L. A wide range has a logarithmic axis, because such L usually grow by a factor."""
    if lengths[-1] >= 4 * lengths[0]:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    shown = lengths if len(lengths) <= MOST_CATEGORIES else lengths[:: math.ceil(len(lengths) / MOST_CATEGORIES)]
    axes.set_xticks(shown, [str(length) for length in shown])


def _dots(axes: Axes, tried: Tried, positions: Sequence[float]) -> None:
    """Draw a dot for each trial with a value: filled if complete, else hollow and grey; a ring marks the chosen one."""
    many, colour = len(tried.trials) > MANY, tried.study.judged_arm.colour
    points = [(x, trial, trial.best.value) for x, trial in zip(positions, tried.trials, strict=True) if trial.best]
    for complete in (False, True):
        shown = [(x, y) for x, trial, y in points if (trial.state == "complete") == complete]
        xs, ys = [x for x, _ in shown], [y for _, y in shown]
        face, edge = (colour, colour) if complete else ("white", GREY)
        axes.scatter(xs, ys, s=10 if many else 24, facecolors=face, edgecolors=edge, zorder=2, rasterized=many)
    for x, trial, y in points:
        if trial == tried.chosen:
            ring: dict[str, Any] = {"facecolors": "none", "edgecolors": CHOSEN, "linewidths": 2}
            axes.scatter(x, y, s=110, zorder=3, clip_on=False, **ring)


def _x_positions(axes: Axes, tried: Tried, field: str) -> list[float]:
    """Return the x position of each trial, and set the scale and ticks of the axis."""
    declared = space_of(tried.study)[field]
    values: list[Any] = [trial.values.get(field) for trial in tried.trials]
    if isinstance(declared, Range):
        _scale_to_range(axes, declared, whole=all(isinstance(value, int) for value in values))
        return values
    if _are_numbers(declared) and len(declared) > MOST_CATEGORIES:
        axes.xaxis.set_major_locator(MaxNLocator(5))
        return values
    categories = sorted(declared) if _are_numbers(declared) else list(declared)
    labels = [value_text(category) for category in categories]
    crowded = sum(map(len, labels)) > 26
    slant: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
    axes.set_xticks(range(len(labels)), labels, fontsize=8.5, **slant)
    axes.set_xlim(-0.5, len(labels) - 0.5)
    return _shifted([categories.index(value) for value in values])


def _shifted(positions: Sequence[int]) -> list[float]:
    """Shift trials of one category sideways, so that dots of equal values do not cover each other."""
    counts: dict[int, int] = {}
    shifted = []
    for position in positions:
        count = counts[position] = counts.get(position, -1) + 1
        shifted.append(position + SPREAD * ((count + 1) // 2 % 3) / 2 * (-1) ** count)
    return shifted


def _scale_to_range(axes: Axes, declared: Range, whole: bool) -> None:
    """Show the whole declared range, with few ticks because a panel is narrow; ``whole`` puts them at integers."""
    if declared.log:
        axes.set_xscale("log")
        decades = math.log10(declared.high / declared.low)
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if decades >= 2 else (1.0, 3.0), numticks=6))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        margin = (declared.high / declared.low) ** 0.06
        axes.set_xlim(declared.low / margin, declared.high * margin)
        return
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=whole))
    margin = 0.06 * (declared.high - declared.low)
    axes.set_xlim(declared.low - margin, declared.high + margin)


def _short(value: float) -> str:
    """Format a tick's value for a narrow axis: ``0.3``, but ``3e-4``."""
    if 0.01 <= value < 10_000:
        return f"{value:g}"
    digits, _, power = f"{value:.1e}".partition("e")
    return f"{digits.removesuffix('.0')}e{int(power)}"


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _axis_label(field: str, length: int = 36) -> str:
    """Return the field's name with its symbol; a long path keeps only its end, by which fields differ."""
    label = f"{SYMBOLS[field]} ({field})" if field in SYMBOLS else field
    return label if len(label) <= length else f"…{label[1 - length :]}"
