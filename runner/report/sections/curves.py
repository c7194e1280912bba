"""The curves of trainings: the similarity of the sampled images to the prompt (the paper's Fig. 9), and the losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from goodshot.runner.console.terminal import shortened
from goodshot.runner.report.context import StudyContext, support_label
from goodshot.runner.report.drawing import RC, SERIES, series, svg
from goodshot.runner.report.sections.base import Section
from goodshot.runner.report.templates import render
from goodshot.runner.results.record import CellRecord
from goodshot.runner.stages.traces import TrainingCurve, read_curve

LOSSES = ("total", "mse", "reconstruction", "perceptual", "codebook")


@dataclass(frozen=True)
class Curve:
    """One training of a category; ``label`` distinguishes it from the category's other trainings."""

    category: str
    label: str
    training: TrainingCurve


class Curves(Section[list[Curve]]):
    """A chart of the similarities and one of the losses for each category."""

    def gather(self, study: StudyContext) -> list[Curve] | None:
        """Read the curves: those of the first support for each λ of a sweep, else those of every support."""
        cells = [cell for cell in study.cells if _is_drawn(study, cell)] if study.is_sweep else study.point_cells
        by_training = {cell.generator: cell for cell in reversed(cells) if study.arm(cell).has_trace and cell.image_set}
        return study.read_each("similarity", reversed(by_training.values()), lambda cell: _curve(study, cell)) or None

    def html(self, study: StudyContext, shown: list[Curve]) -> str:
        """Render one pair of charts for each category; the losses are those of its first training."""
        groups: dict[str, list[Curve]] = {}
        for curve in shown:
            groups.setdefault(curve.category, []).append(curve)
        charts = [(category, _similarity(category, curves), _losses(curves[0])) for category, curves in groups.items()]
        return render("sections/curves.html.j2", charts=charts)


def _is_drawn(study: StudyContext, cell: CellRecord) -> bool:
    """Whether a sweep's cell is at the last declared copies and L, and of the category's first support."""
    last, row = study.study.points[-1], study.row(cell)
    return (row["copies"], row["iterations"], row["support_seed"], cell.seed) == (
        last.copies,
        last.iterations,
        *study.study.seeds(cell.category)[0],
    )


def _curve(study: StudyContext, cell: CellRecord) -> Curve:
    row, defaults = study.row(cell), study.arm(cell).column_defaults
    training = read_curve(study.output.store, str(cell.image_set), str(cell.prompt), str(row["prompt_kind"]))
    label = f"λ = {row['vq_weight']:g}" if study.is_sweep else support_label(row)
    varied = "" if row["variance"] == defaults["variance"] else f", variance {row['variance']}"
    return Curve(cell.category, label + varied, training)


def _similarity(category: str, trainings: Sequence[Curve]) -> str:
    """Draw the similarity of each scored iteration; the chosen iteration is circled."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(5.8, 3.0), layout="constrained")
        axes = figure.subplots()
        for colour, curve in zip(series(len(trainings)), trainings, strict=True):
            t = curve.training
            axes.plot(t.iterations, t.similarity, color=colour, marker=".", label=curve.label)
            chosen = t.similarity[t.iterations == t.chosen]
            axes.scatter([t.chosen] * len(chosen), chosen, s=95, facecolors="none", edgecolors=colour, linewidths=1.8)
        axes.set(title=f"{shortened(category)}: similarity", xlabel="iteration l", ylabel="cos(prompt, mean embedding)")
        if len(trainings) <= len(SERIES):
            axes.legend(fontsize=8, frameon=False)
        return svg(figure)


def _losses(curve: Curve) -> str:
    """Draw the losses of eq. 7 over the updates of one training; a loss that is always zero is left out."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(5.8, 3.0), layout="constrained")
        axes = figure.subplots()
        values = curve.training.losses
        for colour, name in zip(SERIES, LOSSES, strict=False):
            if np.any(values[name] > 0):
                axes.plot(values["iteration"], values[name], color=colour, linewidth=1.2, label=name)
        axes.set(
            title=f"{shortened(curve.category)}: losses, {curve.label}", xlabel="update", ylabel="loss (log scale)"
        )
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(LogFormatter())
        axes.yaxis.set_minor_formatter(LogFormatter())
        axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
        return svg(figure)
