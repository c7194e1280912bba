"""The curves of trainings: the similarity of the sampled images to the prompt (the paper's Fig. 9), and the losses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from goodshot.runner.console.terminal import shortened
from goodshot.runner.report.blocks import Block, Chart, Text, block_name
from goodshot.runner.report.charts import SERIES, chart, data, series_colours, spread
from goodshot.runner.report.context import StudyContext, support_label
from goodshot.runner.report.sections.base import Section
from goodshot.runner.results.record import CellRecord
from goodshot.runner.stages.prompt import PromptStage
from goodshot.runner.stages.traces import TrainingCurve, read_curve
from goodshot.runner.stages.training import TrainingStage

LOSSES = ("total", "mse", "reconstruction", "perceptual", "codebook")
MOST_UPDATES = 250
"""A chart of the losses shows at most this many updates, evenly spaced, because each page carries their numbers."""


@dataclass(frozen=True)
class Curve:
    """One training of a category; ``label`` distinguishes it from the category's other trainings."""

    category: str
    label: str
    training: TrainingCurve


class Curves(Section):
    """A chart of the similarities and one of the losses for each category."""

    name = "curves"
    title = "Similarity per iteration"

    def blocks(self, study: StudyContext) -> Iterator[Block]:
        """Yield the charts of each category; the losses are those of its first training."""
        groups: dict[str, list[Curve]] = {}
        for curve in _curves(study):
            groups.setdefault(curve.category, []).append(curve)
        if groups:
            yield Text(
                "The cosine between the prompt and the mean embedding of the images sampled at an iteration; the "
                "chosen iteration α is circled. Beside it the losses of the first of these trainings.",
                "note",
            )
        for category, curves in groups.items():
            yield Chart(
                name=block_name("similarity", category),
                title=f"{shortened(category)}: similarity",
                specification=_similarity(curves),
                description=f"Line chart: similarity per iteration, {category}",
            )
            yield Chart(
                name=block_name("losses", category),
                title=f"{shortened(category)}: losses, {curves[0].label}",
                specification=_losses(curves[0]),
                description=f"Line chart: training losses per update, {category}",
            )


def _curves(study: StudyContext) -> list[Curve]:
    """Read the curves: those of the first support for each λ of a sweep, else those of every support."""
    cells = [cell for cell in study.cells if _is_drawn(study, cell)] if study.is_sweep else study.point_cells
    by_training = {
        cell.key_of(TrainingStage): cell for cell in reversed(cells) if study.arm(cell).has_trace and cell.image_set
    }
    return study.read_each("similarity", reversed(by_training.values()), lambda cell: _curve(study, cell))


def _is_drawn(study: StudyContext, cell: CellRecord) -> bool:
    """Whether a sweep's cell is at the last declared copies and L, and of the category's first support."""
    last, row = study.last_point, study.row(cell)
    return (row["copies"], row["iterations"], row["support_seed"], cell.seed) == (
        last.copies,
        last.iterations,
        *study.study.seeds(cell.category)[0],
    )


def _curve(study: StudyContext, cell: CellRecord) -> Curve:
    row, defaults = study.row(cell), study.arm(cell).column_defaults
    training = read_curve(
        study.output.store, str(cell.image_set), str(cell.key_of(PromptStage)), str(row["prompt_kind"])
    )
    label = f"λ = {row['vq_weight']:g}" if study.is_sweep else support_label(row)
    varied = "" if row["variance"] == defaults["variance"] else f", variance {row['variance']}"
    return Curve(cell.category, label + varied, training)


def _similarity(trainings: Sequence[Curve]) -> Mapping[str, Any]:
    """Draw the similarity of each scored iteration; the chosen iteration is circled."""
    labels = list(dict.fromkeys(curve.label for curve in trainings))
    legend = alt.Legend(orient="bottom", columns=3) if 1 < len(labels) <= len(SERIES) else None
    rows = list(_scored(trainings))
    base = alt.Chart(data("similarity")).encode(
        x=alt.X("iteration:Q", title="iteration l", axis=alt.Axis(tickMinStep=1)),
        y=alt.Y("similarity:Q", title="cos(prompt, mean embedding)", scale=spread(row["similarity"] for row in rows)),
        color=alt.Color("training:N", title=None, scale=series_colours(labels), legend=legend),
        detail="number:O",
        tooltip=["training:N", "iteration:Q", alt.Tooltip("similarity:Q", format=".4f")],
    )
    drawn = alt.layer(
        base.mark_line(strokeWidth=1.5),
        base.mark_circle(size=22, opacity=1),
        base.transform_filter("datum.chosen").mark_point(size=170, strokeWidth=2),
    ).properties(width=400, height=220)
    return chart(drawn, similarity=rows)


def _scored(trainings: Sequence[Curve]) -> Iterator[dict[str, Any]]:
    for number, curve in enumerate(trainings):
        t = curve.training
        for iteration, similarity in zip(t.iterations.tolist(), t.similarity.tolist(), strict=True):
            row = {"training": curve.label, "number": number, "iteration": iteration, "similarity": similarity}
            yield {**row, "chosen": True} if iteration == t.chosen else row


def _losses(curve: Curve) -> Mapping[str, Any]:
    """Draw the losses of eq. 7 over the updates of one training; a loss that is always zero is left out."""
    losses = curve.training.losses
    shown = [name for name in LOSSES if (losses[name] > 0).any()]
    drawn = (
        alt.Chart(data("updates"))
        .transform_fold([*shown], as_=["loss", "value"])
        .transform_filter("datum.value > 0")
        .mark_line(strokeWidth=1.5)
        .encode(
            x=alt.X("update:Q", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y(
                "value:Q",
                title="loss (log scale)",
                scale=alt.Scale(type="log"),
                axis=alt.Axis(format="~g", tickCount=6),
            ),
            color=alt.Color(
                "loss:N", title=None, scale=series_colours(shown), legend=alt.Legend(orient="bottom", columns=3)
            ),
            tooltip=[alt.Tooltip("loss:N"), alt.Tooltip("update:Q"), alt.Tooltip("value:Q", format=".4g")],
        )
        .properties(width=400, height=220)
    )
    return chart(drawn, updates=list(_updates(losses, shown)))


def _updates(losses: Mapping[str, Any], shown: Sequence[str]) -> Iterator[dict[str, float]]:
    updates = losses["iteration"].tolist()
    for i in range(0, len(updates), -(-len(updates) // MOST_UPDATES)):
        yield {"update": updates[i], **{name: float(f"{losses[name][i]:.4g}") for name in shown}}
