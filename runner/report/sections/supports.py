"""The spread over supports, which a mean hides: a dot for each support of each variant."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from goodshot.components.metrics.declared import Metric
from goodshot.runner.console.terminal import shortened
from goodshot.runner.report.context import StudyContext
from goodshot.runner.report.drawing import RC, svg
from goodshot.runner.report.sections.base import Section
from goodshot.runner.report.templates import render
from goodshot.runner.results.comparison import Comparison


@dataclass(frozen=True)
class Spread:
    """The chart of one category and detector.

    metric: the metric by which the variants are compared.
    limits: the range of the metric's axis, the same in all charts of a study.
    """

    title: str
    metric: Metric
    variants: Sequence[Comparison]
    limits: tuple[float, float]


class Supports(Section[list[Spread]]):
    """A chart for each category and detector of a study with one point."""

    def gather(self, study: StudyContext) -> list[Spread] | None:
        """Return a chart's values for each category and detector; None for a sweep, and if there is no value."""
        groups: dict[tuple[str, str, Metric], list[Comparison]] = {}
        for c in study.comparisons if not study.is_sweep else ():
            if c.compared is not None and any(map(math.isfinite, c.values(c.compared).values())):
                groups.setdefault((str(c.table["category"]), c.subject, c.compared), []).append(c)
        limits = {metric: _limits(metric, study.comparisons) for _, _, metric in groups}
        titles = {key: key[0] if study.has_one_subject else f"{key[0]}, {key[1]}" for key in groups}
        return [Spread(titles[key], key[2], variants, limits[key[2]]) for key, variants in groups.items()] or None

    def html(self, study: StudyContext, shown: list[Spread]) -> str:
        """Render the charts, side by side."""
        return render("sections/supports.html.j2", charts=[(spread, _chart(spread)) for spread in shown])


def _limits(metric: Metric, comparisons: Iterable[Comparison]) -> tuple[float, float]:
    """Return one range for all charts of a study, so that spreads can be compared between categories."""
    values = [v for c in comparisons if c.compared == metric for v in c.values(metric).values() if math.isfinite(v)]
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = 0.04 * (high - low) + 0.004
    return low - margin, high + margin


def _chart(spread: Spread) -> str:
    """Draw the metric of each support by variant, with a line for each support; unfinished cells are left out."""
    variants, values_by_seed = spread.variants, [c.values(spread.metric) for c in spread.variants]
    with mpl.rc_context(RC):
        figure = Figure(figsize=(max(3.8, 0.95 * len(variants) + 0.9), 2.9), layout="constrained")
        axes = figure.subplots()
        seeds = list(dict.fromkeys(seed for c in variants for seed in c.rows))
        values = np.array([[by_seed.get(seed, np.nan) for by_seed in values_by_seed] for seed in seeds])
        for line in values:
            axes.plot(range(len(variants)), line, color="#b5b5b5", linewidth=1, zorder=1)
        for x, c in enumerate(variants):
            axes.scatter([x] * len(values), values[:, x], color=c.arm.colour, s=26, zorder=2)
            if mean := c.mean(spread.metric):
                axes.hlines(mean.mean, x - 0.24, x + 0.24, color=c.arm.colour, linewidth=2.5)
        axes.set_xticks(range(len(variants)), [c.label.replace(" ", "\n") for c in variants])
        axes.set(
            title=shortened(spread.title, 28),
            ylabel=spread.metric.title,
            xlim=(-0.5, len(variants) - 0.5),
            ylim=spread.limits,
        )
        return svg(figure)
