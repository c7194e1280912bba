"""Figures of the report as data URIs, and the README's picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from components.data.images import encode_png
from runner.comparison import Comparison
from runner.report.gather import Curve, Gallery, MapPanel, PromptView

# Okabe-Ito: told apart with any colour vision.
COLOURS = {"original": "#0072B2", "augmented": "#E69F00", "generated": "#009E73"}
SERIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
RC = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "goodshot",
}
LISTED_PROMPTS = 12


def picture(image: np.ndarray) -> str:
    """An image uint8 (H, W, 3) as a PNG data URI."""
    return _uri(encode_png(image), "png")


def supports(category: str, comparisons: Sequence[Comparison], rows: Sequence[Mapping[str, Any]]) -> str:
    """Image AUROC of every support by variant, a line per support: the spread that a mean hides."""
    variants = [c for c in comparisons if c.table["category"] == category]
    with mpl.rc_context(RC):
        figure = Figure(figsize=(3.7, 2.8), layout="constrained")
        axes = figure.subplots()
        values = np.array([[_auroc(rows, c, seed) for c in variants] for seed in variants[0].seeds])
        for line in values:
            axes.plot(range(len(variants)), line, color="#b5b5b5", linewidth=1, zorder=1)
        for x, c in enumerate(variants):
            colour = COLOURS[str(c.variant["arm"])]
            axes.scatter([x] * len(values), values[:, x], color=colour, s=26, zorder=2)
            axes.hlines(values[:, x].mean(), x - 0.22, x + 0.22, color=colour, linewidth=2.5)
        axes.set_xticks(range(len(variants)), [c.label.replace(" ", "\n") for c in variants])
        axes.set_xlim(-0.5, len(variants) - 0.5)
        axes.set(title=category, ylabel="image AUROC")
        return _svg(figure)


def anomaly_maps(panel: MapPanel) -> str:
    """Photographs with the planted or annotated outline, and each variant's map, all on one scale."""
    n, variants = len(panel.images), list(panel.maps)
    stacked = np.stack([panel.maps[v] for v in variants])
    low, high = np.percentile(stacked, 1), stacked.max()
    with mpl.rc_context({**RC, "axes.grid": False}):
        figure = Figure(figsize=(1.55 * n + 0.9, 1.6 * (1 + len(variants)) + 0.3), layout="constrained", dpi=110)
        axes = figure.subplots(1 + len(variants), n, squeeze=False)
        for i in range(n):
            axes[0, i].imshow(panel.images[i])
            if panel.masks[i].any():
                axes[0, i].contour(panel.masks[i], levels=[0.5], colors="#ff3b30", linewidths=1.2)
            axes[0, i].set_title("/".join(panel.image_ids[i].split("/")[1:]), fontsize=8)
            for r, variant in enumerate(variants):
                drawn = axes[r + 1, i].imshow(panel.maps[variant][i], cmap="viridis", vmin=low, vmax=high)
        for r, name in enumerate(["test image", *variants]):
            axes[r, 0].set_ylabel(name)
        _bare(axes)
        figure.colorbar(drawn, ax=axes[1:, :], label="anomaly map (raw distance)", shrink=0.9)
        return _png(figure)


def curves(category: str, trainings: Sequence[Curve]) -> str:
    """Similarity per scored iteration with the chosen one marked (the paper's Fig. 9), and the losses of eq. 7."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(9.4, 2.9), layout="constrained")
        left, right = figure.subplots(1, 2)
        for colour, c in zip(SERIES, trainings, strict=False):
            training = c.training
            left.plot(training.iterations, training.similarity, color=colour, marker=".", label=f"support {c.seed}")
            at = int(np.flatnonzero(training.iterations == training.chosen)[0])
            left.scatter(
                [training.chosen], [training.similarity[at]], s=90, facecolors="none", edgecolors=colour, linewidths=1.8
            )
        left.set(title=f"{category}: similarity", xlabel="iteration l", ylabel="cos(prompt, images)")
        left.legend(fontsize=8, frameon=False)
        losses = trainings[0].training.losses
        for colour, name in zip(SERIES, ("total", "mse", "reconstruction", "perceptual", "codebook"), strict=False):
            if np.any(losses[name] > 0):
                right.plot(losses["iteration"], losses[name], color=colour, linewidth=1.2, label=name)
        right.set(
            title=f"{category}: losses, support {trainings[0].seed}", xlabel="update", ylabel="loss", yscale="log"
        )
        right.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        return _svg(figure)


def prompt_ranking(view: PromptView) -> str:
    """Cosine of each prompt to the photograph (the paper's Fig. 8): the best, the last, and two comparators."""
    rows = view.ranking.rows
    bars = [(r.prompt, r.cosine, "#009E73" if r is rows[0] else "#9a9a9a") for r in rows]
    if len(rows) > LISTED_PROMPTS:
        between = (f"… {len(rows) - LISTED_PROMPTS} more …", 0.0, "#9a9a9a")
        bars = [*bars[: LISTED_PROMPTS - 4], between, *bars[-4:]]
    comparators = (view.ranking.only_word, view.ranking.naive)
    bars += [(f"{r.prompt} (comparator)", r.cosine, "#E69F00") for r in comparators]
    with mpl.rc_context({**RC, "axes.grid.axis": "x"}):
        figure = Figure(figsize=(6.2, 0.27 * len(bars) + 0.9), layout="constrained")
        axes = figure.subplots()
        labels, values, colours = zip(*bars, strict=True)
        axes.barh(range(len(bars)), values, color=colours)
        axes.set_yticks(range(len(bars)), labels, fontsize=9)
        axes.invert_yaxis()
        axes.set(title=f"{view.category}, support {view.seed}: {len(rows)} prompts", xlabel="cosine to the photograph")
        return _svg(figure)


def heatmaps(rows: Sequence[Mapping[str, Any]], column: str, title: str) -> str:
    """Mean of a column over λ × L, one panel per number of copies, on one scale."""
    generated = [row for row in rows if row["arm"] == "generated"]
    weights, lengths, copies = (sorted({r[c] for r in generated}) for c in ("vq_weight", "iterations", "copies"))
    grid = np.array([[[_mean(generated, column, w, n, m) for n in lengths] for w in weights] for m in copies])
    with mpl.rc_context({**RC, "axes.grid": False}):
        figure = Figure(figsize=(2.6 * len(copies) + 0.9, 0.55 * len(weights) + 1.5), layout="constrained")
        for axis, m, values in zip(np.atleast_1d(figure.subplots(1, len(copies))), copies, grid, strict=True):
            drawn = axis.imshow(values, cmap="viridis", vmin=grid.min(), vmax=grid.max(), aspect="auto")
            axis.set_xticks(range(len(lengths)), [str(n) for n in lengths])
            axis.set_yticks(range(len(weights)), [f"{w:g}" for w in weights])
            axis.set(title=f"copies = {m}", xlabel="iterations L", ylabel="λ (vq_weight)")
            for (y, x), value in np.ndenumerate(values):
                dark = value < (grid.min() + grid.max()) / 2
                axis.text(x, y, f"{value:.3f}", ha="center", va="center", color="white" if dark else "black")
        figure.colorbar(drawn, label=title)
        return _svg(figure)


def readme_figure(galleries: Sequence[Gallery], panels: Sequence[MapPanel]) -> bytes:
    """PNG: per category the original, four chosen images, a defective test image and its map (generated arm)."""
    with mpl.rc_context({**RC, "axes.grid": False}):
        figure = Figure(figsize=(9.6, 1.45 * len(galleries) + 0.35), layout="constrained", dpi=110)
        axes = figure.subplots(len(galleries), 7, squeeze=False)
        by_category = {panel.category: panel for panel in panels}
        for row, gallery in zip(axes, galleries, strict=True):
            panel = by_category[gallery.category]
            defect = int(np.flatnonzero(panel.masks.any(axis=(1, 2)))[-1])
            pictures = [gallery.originals[0], *gallery.images[:4], panel.images[defect]]
            for axis, image in zip(row, pictures, strict=False):
                axis.imshow(image)
            row[5].contour(panel.masks[defect], levels=[0.5], colors="#ff3b30", linewidths=1.2)
            row[6].imshow(panel.maps["generated"][defect], cmap="viridis")
            row[0].set_ylabel(gallery.category)
        for axis, title in zip(
            axes[0], ["photograph", "generated", "", "", "", "defective", "anomaly map"], strict=True
        ):
            axis.set_title(title, fontsize=10)
        _bare(axes)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        return buffer.getvalue()


def _bare(axes: np.ndarray) -> None:
    """Pictures have no axes."""
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)


def _auroc(rows: Sequence[Mapping[str, Any]], comparison: Comparison, seed: tuple[Any, Any]) -> float:
    wanted = {**comparison.table, **comparison.variant, "support_seed": seed[0], "seed": seed[1]}
    return next(float(r["image_auroc"]) for r in rows if all(r[k] == v for k, v in wanted.items()))


def _mean(rows: Sequence[Mapping[str, Any]], column: str, weight: float, iterations: int, copies: int) -> float:
    point = (weight, iterations, copies)
    values = [r[column] for r in rows if (r["vq_weight"], r["iterations"], r["copies"]) == point]
    return float(np.mean(values)) if values else float("nan")


def _svg(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _uri(buffer.getvalue(), "svg+xml")


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return _uri(buffer.getvalue(), "png")


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
