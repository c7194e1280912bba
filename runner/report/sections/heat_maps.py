"""The points of a sweep: the mean of each metric over λ × L, in one panel for each number of copies."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from goodshot.components.metrics.declared import Metric, shown_in
from goodshot.runner.declaration.search import SWEPT
from goodshot.runner.report.context import StudyContext
from goodshot.runner.report.drawing import RC, svg
from goodshot.runner.report.sections.base import Section
from goodshot.runner.report.templates import render
from goodshot.runner.results.comparison import Row, subject_of


@dataclass(frozen=True)
class HeatMap:
    """One metric of one detector; ``rows`` are the judged arm's rows of all points, categories and supports."""

    title: str
    metric: Metric
    rows: Sequence[Row]


class HeatMaps(Section[list[HeatMap]]):
    """A figure for each detector and metric of a sweep's judged arm."""

    def gather(self, study: StudyContext) -> list[HeatMap] | None:
        """Return the heat maps; None unless the study is a sweep whose judged arm depends on λ, copies and L."""
        arm = study.study.judged_arm
        if not study.is_sweep or not {*SWEPT} <= {*arm.point_fields}:
            return None
        groups: dict[str, list[Row]] = {}
        for row in study.rows:
            if row["arm"] == arm.label:
                groups.setdefault(subject_of(row), []).append(row)
        return [
            HeatMap(f"{metric.title}, {subject}", metric, rows)
            for subject, rows in groups.items()
            for metric in shown_in("heat_maps")
            if any(_is_finite(row, metric) for row in rows)
        ] or None

    def html(self, study: StudyContext, shown: list[HeatMap]) -> str:
        """Render the figures, side by side."""
        return render("sections/heat_maps.html.j2", charts=[(heat_map.title, _chart(heat_map)) for heat_map in shown])


def _is_finite(row: Row, metric: Metric) -> bool:
    value = row.get(metric.name)
    return value is not None and math.isfinite(value)


def _chart(heat_map: HeatMap) -> str:
    """Draw the panels of one heat map; they share one colour scale."""
    rows, name = heat_map.rows, heat_map.metric.name
    weights, lengths, copies = (sorted({row[c] for row in rows}) for c in ("vq_weight", "iterations", "copies"))
    values_at: defaultdict[tuple[float, int, int], list[float]] = defaultdict(list)
    for row in rows:
        if _is_finite(row, heat_map.metric):
            values_at[row["vq_weight"], row["iterations"], row["copies"]].append(row[name])
    means = {point: float(np.mean(values)) for point, values in values_at.items()}
    grid = np.array([[[means.get((w, n, m), np.nan) for n in lengths] for w in weights] for m in copies])
    low, high = np.nanmin(grid), np.nanmax(grid)
    with mpl.rc_context({**RC, "axes.grid": False}):
        size = ((0.75 * len(lengths) + 0.6) * len(copies) + 1.6, 0.5 * len(weights) + 1.4)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, len(copies), squeeze=False, sharey=True)[0]
        for axis, m, values in zip(panels, copies, grid, strict=True):
            drawn = axis.imshow(values, cmap="viridis", vmin=low, vmax=high, aspect="auto")
            axis.set_xticks(range(len(lengths)), [str(n) for n in lengths])
            axis.set_yticks(range(len(weights)), [f"{w:g}" for w in weights])
            axis.set(title=f"copies = {m}", xlabel="iterations L")
            _write_values(axis, values, (low + high) / 2)
        panels[0].set_ylabel("λ (vq_weight)")
        figure.colorbar(drawn, ax=list(panels), label=heat_map.metric.title)
        return svg(figure)


def _write_values(axis: Axes, values: np.ndarray, middle: float) -> None:
    for (y, x), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "white" if value < middle else "black"
            axis.text(x, y, f"{value:.3f}", ha="center", va="center", color=colour)
