"""The report's charts as SVG data URIs: spread over supports, sweeps, training curves, prompts."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from components.prompts.ranking import Prompt
from runner.report.drawing import ARMS, GREY, RC, SERIES, arm_colour, series, svg
from runner.report.page import Curve, PromptView, Row
from runner.results.comparison import Comparison

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
    values_at: defaultdict[tuple[float, int, int], list[float]] = defaultdict(list)
    for r in rows:
        if r[column] is not None:
            values_at[r["vq_weight"], r["iterations"], r["copies"]].append(r[column])
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
    """The paper's Fig. 8: left, how near each prompt is to the object's name; right, to the photograph, with stage 1.

    A ranking that was stored before it had the left one's numbers shows the right panel alone.
    """
    lines = listed_prompts(view)
    compared = all(prompt.text_cosine is not None for _, prompt in lines)
    with mpl.rc_context({**RC, "axes.grid.axis": "x"}):
        labels = [_shortened(prompt.prompt) + f"  ({kind})" * bool(kind) for kind, prompt in lines]
        widths = (2.3, 4.6) if compared else (4.6,)
        size = (sum(widths) + 0.075 * max(map(len, labels)), 0.25 * len(lines) + 1.6)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, len(widths), sharey=True, width_ratios=widths, squeeze=False)[0]
        panels[0].set_yticks(range(len(lines)), labels, fontsize=8.5)
        for tick, (kind, _) in zip(panels[0].get_yticklabels(), lines, strict=True):
            tick.set_fontweight("bold" if kind else "normal")
        if compared:
            _draw_text_cosines(panels[0], lines, view)
        _draw_image_cosines(panels[-1], lines, view)
        panels[0].set_ylim(len(lines) - 0.4, -0.6)
        for axes in panels:
            axes.hlines(_gaps(view, lines), *axes.get_xlim(), color="#777777", linestyle=":", linewidth=1)
        figure.suptitle(f"{view.category}, {view.support}", x=0.01, ha="left", fontsize=11, fontweight="bold")
        return svg(figure)


def _draw_text_cosines(axes: Axes, lines: Sequence[tuple[str, Prompt]], view: PromptView) -> None:
    dropped = _dropped(view)
    for y, (kind, prompt) in enumerate(lines):
        colour = PROMPTS.get(kind, GREY)
        face = "white" if prompt.prompt in dropped else colour
        axes.scatter([prompt.text_cosine or 0.0], [y], s=34, facecolors=face, edgecolors=colour, zorder=2)
    axes.set(title="Input text, each prompt", xlabel=f"cosine with “{_shortened(view.ranking.object_name, 16)}”")


def _draw_image_cosines(axes: Axes, lines: Sequence[tuple[str, Prompt]], view: PromptView) -> None:
    dropped = _dropped(view)
    colours = [PROMPTS.get(kind, GREY) for kind, _ in lines]
    faces = ["white" if prompt.prompt in dropped else c for c, (_, prompt) in zip(colours, lines, strict=True)]
    cosines = [prompt.cosine for _, prompt in lines]
    bars = axes.barh(range(len(lines)), cosines, color=faces, edgecolor=colours, height=0.72)
    texts = [f"{p.cosine:.3f} · {p.distance:.2f}" + ", dropped" * (p.prompt in dropped) for _, p in lines]
    axes.bar_label(bars, texts, fontsize=7.5, padding=3, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})
    low, high = min(0.0, *cosines), max(0.0, *cosines)
    span = high - low
    axes.set_xlim(low - 0.42 * span * (low < 0), high + (0.6 if dropped else 0.3) * span)
    axes.axvline(0, color="#333333", linewidth=0.8)
    stage_1 = _draw_stage_1(axes, view)
    axes.set(title="Input image, each prompt", xlabel=f"cosine with the photograph · L2 distance{stage_1}")


def _draw_stage_1(axes: Axes, view: PromptView) -> str:
    """The threshold, an L2 distance d of unit vectors, where cos = 1 − d² / 2, and what it drops. Returns a legend."""
    threshold, keep = view.ranking.threshold, view.ranking.keep
    if threshold is None or keep is None:
        return ""
    cosine = 1 - threshold**2 / 2
    low, high = axes.get_xlim()
    low, high = min(low, cosine - 0.04), max(high, cosine + 0.04)
    span = (cosine, high) if keep == "farther" else (low, cosine)
    axes.axvspan(*span, color="#f1e3dc", zorder=0, linewidth=0)
    axes.axvline(cosine, color="#a0522d", linestyle="--", linewidth=1.2, zorder=0.5)
    axes.set_xlim(low, high)
    return f"\nshaded: {'nearer' if keep == 'farther' else 'farther'} than {threshold:g}, dropped by stage 1"


def _gaps(view: PromptView, lines: Sequence[tuple[str, Prompt]]) -> list[float]:
    """Where the chart leaves candidates out: heights between two lines, or below the last one."""
    rank = {row.prompt: i for i, row in enumerate(view.ranking.rows)}
    drawn = [(y, rank[prompt.prompt]) for y, (_, prompt) in enumerate(lines) if prompt.prompt in rank]
    return [y - 0.5 for (_, before), (y, own) in itertools.pairwise(drawn) if own > before + 1]


def _dropped(view: PromptView) -> set[str]:
    return {row.prompt for row in view.ranking.rows if not row.kept}


def listed_prompts(view: PromptView) -> list[tuple[str, Prompt]]:
    """The prompts a chart shows, by falling cosine: (what it is called, prompt); the middle of a long list left out."""
    whole = len(view.ranking.rows) <= TOP_PROMPTS + BOTTOM_PROMPTS
    lines = view.ranking.listed(len(view.ranking.rows) if whole else TOP_PROMPTS, 0 if whole else BOTTOM_PROMPTS)
    return [(line.name, line.prompt) for line in lines]


def _write_values(axis: Axes, values: np.ndarray, middle: float) -> None:
    for (y, x), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "white" if value < middle else "black"
            axis.text(x, y, f"{value:.3f}", ha="center", va="center", color=colour)


def _shortened(label: str, length: int = 44) -> str:
    """Without its middle: prompts differ at their ends."""
    half = (length - 1) // 2
    return label if len(label) <= length else f"{label[:half].rstrip()}…{label[-half:].lstrip()}"


def _auroc(rows: Sequence[Row], comparison: Comparison, seed: tuple[object, object]) -> float:
    """One support's value; NaN, which is not drawn, where that cell has not finished."""
    wanted = {**comparison.table, **comparison.variant, "support_seed": seed[0], "seed": seed[1]}
    found = (float(row["image_auroc"]) for row in rows if all(row[k] == v for k, v in wanted.items()))
    return next(found, float("nan"))
