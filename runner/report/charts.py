"""The report's charts as SVG data URIs: spread over supports, sweeps, training curves, prompts."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from components.prompts.ranking import Prompt
from runner.comparison import Comparison
from runner.report.drawing import ARMS, GREY, RC, SERIES, arm_colour, series, svg
from runner.report.page import Curve, PromptView, Row

TOP_PROMPTS, BOTTOM_PROMPTS = 10, 5
LOSSES = ("total", "mse", "reconstruction", "perceptual", "codebook")
# Highlighted bars, as METHOD's comparators are called; everything else is grey.
PROMPTS = {"best": ARMS["generated"], "only word": "#56B4E9", "naive": ARMS["augmented"], "worst": "#D55E00"}


def auroc_range(rows: Sequence[Row]) -> tuple[float, float]:
    """One scale for the charts of a study, so that spreads can be compared from category to category."""
    values = [float(row["image_auroc"]) for row in rows]
    margin = 0.04 * (max(values) - min(values)) + 0.004
    return min(values) - margin, max(values) + margin


def supports(title: str, variants: Sequence[Comparison], rows: Sequence[Row], limits: tuple[float, float]) -> str:
    """Image AUROC of every support by variant, a line per support: the spread that a mean hides."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(max(3.8, 0.95 * len(variants) + 0.9), 2.9), layout="constrained")
        axes = figure.subplots()
        seeds = list(dict.fromkeys(seed for c in variants for seed in c.seeds))
        values = np.array([[_auroc(rows, c, seed) for c in variants] for seed in seeds])
        for line in values:
            axes.plot(range(len(variants)), line, color="#b5b5b5", linewidth=1, zorder=1)
        for x, c in enumerate(variants):
            colour = arm_colour(str(c.variant["arm"]))
            axes.scatter([x] * len(values), values[:, x], color=colour, s=26, zorder=2)
            axes.hlines(c.metrics["image_auroc"].mean, x - 0.24, x + 0.24, color=colour, linewidth=2.5)
        axes.set_xticks(range(len(variants)), [c.label.replace(" ", "\n") for c in variants])
        axes.set(title=title, ylabel="image AUROC", xlim=(-0.5, len(variants) - 0.5), ylim=limits)
        return svg(figure)


def heatmaps(rows: Sequence[Row], column: str, title: str) -> str:
    """Mean of a column over λ × L, one panel per number of copies, on one scale."""
    weights, lengths, copies = (sorted({r[c] for r in rows}) for c in ("vq_weight", "iterations", "copies"))
    grid = np.array([[[_mean(rows, column, (w, n, m)) for n in lengths] for w in weights] for m in copies])
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
        figure.colorbar(drawn, ax=list(panels), label=title)
        return svg(figure)


def similarity(category: str, trainings: Sequence[Curve]) -> str:
    """Similarity per scored iteration with the chosen one circled (the paper's Fig. 9)."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(5.8, 3.0), layout="constrained")
        axes = figure.subplots()
        for colour, c in zip(series(len(trainings)), trainings, strict=True):
            t = c.training
            axes.plot(t.iterations, t.similarity, color=colour, marker=".", label=c.label)
            chosen = t.similarity[t.iterations == t.chosen]
            axes.scatter([t.chosen] * len(chosen), chosen, s=95, facecolors="none", edgecolors=colour, linewidths=1.8)
        axes.set(title=f"{category}: similarity", xlabel="iteration l", ylabel="cos(prompt, mean embedding)")
        if len(trainings) <= len(SERIES):
            axes.legend(fontsize=8, frameon=False)
        return svg(figure)


def losses(training: Curve) -> str:
    """The losses of eq. 7 over the updates of one training; those that are zero throughout are left out."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(5.8, 3.0), layout="constrained")
        axes = figure.subplots()
        values = training.training.losses
        for colour, name in zip(SERIES, LOSSES, strict=False):
            if np.any(values[name] > 0):
                axes.plot(values["iteration"], values[name], color=colour, linewidth=1.2, label=name)
        axes.set(title=f"{training.category}: losses, {training.label}", xlabel="update", ylabel="loss (log scale)")
        axes.set_yscale("log")
        axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
        return svg(figure)


def prompt_ranking(view: PromptView) -> str:
    """Cosine and L2 distance of the prompts to the photograph (the paper's Fig. 8), the comparators among them."""
    bars = listed_prompts(view)
    labels = [f"{prompt.prompt}  ({kind})" if kind else prompt.prompt for kind, prompt in bars]
    values = [prompt.cosine for _, prompt in bars]
    with mpl.rc_context({**RC, "axes.grid.axis": "x"}):
        figure = Figure(figsize=(5.8, 0.25 * len(bars) + 1.0), layout="constrained")
        axes = figure.subplots()
        drawn = axes.barh(range(len(bars)), values, color=[PROMPTS.get(kind, GREY) for kind, _ in bars], height=0.72)
        axes.bar_label(drawn, [f"{p.cosine:.3f} · {p.distance:.2f}" for _, p in bars], fontsize=7.5, padding=3)
        axes.set_yticks(range(len(bars)), [_shortened(label) for label in labels], fontsize=8.5)
        axes.invert_yaxis()
        axes.margins(x=0.28, y=0.01)
        axes.axvline(0, color="#333333", linewidth=0.8)
        axes.set(title=f"{view.category}, {view.support}", xlabel="cosine (bar) · L2 distance to the photograph")
        return svg(figure)


def listed_prompts(view: PromptView) -> list[tuple[str, Prompt]]:
    """The prompts a chart shows, by falling cosine: (what it is called, prompt); the middle of a long list left out."""
    ranking = view.ranking
    named: dict[str, str] = {ranking.worst.prompt: "worst", ranking.best.prompt: "best"}
    rows = list(ranking.rows)
    if len(rows) > TOP_PROMPTS + BOTTOM_PROMPTS:
        rows = rows[:TOP_PROMPTS] + rows[-BOTTOM_PROMPTS:]
    found = [(named.get(row.prompt, ""), Prompt(**row.model_dump(include=set(Prompt.model_fields)))) for row in rows]
    found += [("only word", ranking.only_word), ("naive", ranking.naive)]
    return sorted(found, key=lambda item: -item[1].cosine)


def _write_values(axis: Axes, values: np.ndarray, middle: float) -> None:
    for (y, x), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "white" if value < middle else "black"
            axis.text(x, y, f"{value:.3f}", ha="center", va="center", color=colour)


def _shortened(label: str, length: int = 44) -> str:
    return label if len(label) <= length else label[: length - 1] + "…"


def _auroc(rows: Sequence[Row], comparison: Comparison, seed: tuple[object, object]) -> float:
    """One support's value; NaN, which is not drawn, where that cell has not finished."""
    wanted = {**comparison.table, **comparison.variant, "support_seed": seed[0], "seed": seed[1]}
    found = (float(row["image_auroc"]) for row in rows if all(row[k] == v for k, v in wanted.items()))
    return next(found, float("nan"))


def _mean(rows: Sequence[Row], column: str, point: tuple[float, int, int]) -> float:
    values = [r[column] for r in rows if (r["vq_weight"], r["iterations"], r["copies"]) == point]
    return float(np.mean(values)) if values else float("nan")
