"""The rankings of prompts by their similarity to the object's name and to its photograph (the paper's Fig. 8)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from goodshot.components.prompts import Ranking
from goodshot.components.prompts.ranking import Prompt
from goodshot.runner.console.terminal import shortened
from goodshot.runner.report.blocks import Block, Chart, Column, Table, TableCell, Text, block_name
from goodshot.runner.report.charts import GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, chart, data
from goodshot.runner.report.context import StudyContext, support_label
from goodshot.runner.report.sections.base import Section
from goodshot.runner.report.values import number_value
from goodshot.runner.results.record import CellRecord
from goodshot.runner.stages.prompt import PromptStage, read_ranking

TOP_PROMPTS, BOTTOM_PROMPTS = 10, 5
# The colours of the highlighted prompts, by the names that rankings give them; all other prompts are grey.
PROMPTS = {"best": GREEN, "only word": SKY, "naive": ORANGE, "caption": PURPLE, "worst": VERMILLION, "": GREY}
STEP = 20
"""The height of a line of the chart."""
STAGE_1 = "#a0522d"


@dataclass(frozen=True)
class PromptView:
    """The ranking of one support's prompts."""

    category: str
    support: str
    ranking: Ranking


class Prompts(Section):
    """A chart and a table for each prompt ranking of the supports whose images are shown."""

    name = "prompts"
    title = "Prompt ranking"

    def blocks(self, study: StudyContext) -> Iterator[Block]:
        """Yield the charts, then the folded tables, of the rankings that the page does not show yet."""
        with_prompt = [cell for cell in study.cells_with_shown_images if cell.key_of(PromptStage)]
        cells = study.not_yet_shown(with_prompt, lambda cell: cell.key_of(PromptStage))
        views = study.read_each("prompts", cells, lambda cell: _view(study, cell))
        if views:
            yield Text(
                "The prompts contain words from WordNet; the one nearest to the photograph is used. Left: how near a "
                "prompt is to the object's name; right: how near it is to the photograph. Coloured: the best and the "
                "worst of the ranking, and the comparators (“only word”, “naive”, and a “caption” if the study gives "
                "one), which are no candidates. Hollow: dropped by stage 1. A dotted line: candidates that the chart "
                "leaves out.",
                "note",
            )
        yield from map(prompt_ranking, views)
        yield from map(_table, views)


def _view(study: StudyContext, cell: CellRecord) -> PromptView:
    ranking = read_ranking(study.output.store, str(cell.key_of(PromptStage)))
    return PromptView(cell.category, support_label(study.row(cell)), ranking)


def _table(view: PromptView) -> Table:
    rows = view.ranking.rows
    count = f"All {len(rows)} prompts" if len(rows) > 1 else "The only prompt"
    return Table(
        name=block_name("prompts", view.category, view.support),
        title=f"{count} of {view.category}, {view.support}",
        columns=[
            Column("prompt", "prompt"),
            Column("word", "word"),
            Column("distance", "L2 distance"),
            Column("cosine", "cosine"),
            Column("kept", "kept", "whether stage 1 kept it"),
        ],
        lines=[
            *(_line(row, row.word, "yes" if row.kept else "no") for row in rows),
            *(_line(prompt, "(comparator)", "–") for prompt in view.ranking.comparators.values()),
        ],
        folded=True,
    )


def _line(prompt: Prompt, word: str, kept: str) -> list[TableCell]:
    numbers = (number_value(v, f"{v:.3f}") for v in (prompt.distance, prompt.cosine))
    return [prompt.prompt, word, *numbers, kept]


def prompt_ranking(view: PromptView) -> Chart:
    """Draw the paper's Fig. 8, one line for each prompt.

    The left panel shows the cosine with the object's name, the right one the cosine with the photograph and the
    threshold of stage 1. An early version stored rankings without the cosine with the name: they have no left panel.
    """
    lines = listed_prompts(view)
    prompts = _prompt_axis(lines)
    if all(prompt.text_cosine is not None for _, prompt in lines):
        panels = [_text_panel(view, lines, prompts), _image_panel(view, lines, None)]
    else:
        panels = [_image_panel(view, lines, prompts)]
    return Chart(
        name=block_name("prompt ranking", view.category, view.support),
        title=f"{shortened(view.category)}, {view.support}",
        specification=chart(
            alt.hconcat(*panels, spacing=14),
            prompts=list(_rows(view, lines)),
            gaps=[{"line": line} for line in _gaps(view, lines)],
        ),
        description=(
            f"Two panels: cosine of the prompts with the object's name, and with the photograph of {view.category}; "
            f"best is {view.ranking.best.prompt}"
        ),
    )


def _rows(view: PromptView, lines: Sequence[tuple[str, Prompt]]) -> Iterator[dict[str, Any]]:
    dropped = {row.prompt for row in view.ranking.rows if not row.kept}
    for line, (kind, prompt) in enumerate(lines):
        is_dropped = prompt.prompt in dropped
        yield {
            "line": line,
            "prompt": prompt.prompt,
            "kind": kind,
            "name": prompt.text_cosine,
            "photograph": prompt.cosine,
            "filled": 0 if is_dropped else 1,
            "end": max(0.0, prompt.cosine),
            "text": f"{prompt.cosine:.3f} · {prompt.distance:.2f}" + ", dropped" * is_dropped,
        }


def _prompt_axis(lines: Sequence[tuple[str, Prompt]]) -> alt.Axis:
    """The prompts as labels of the lines' numbers, because two shortened prompts may be equal."""
    labels = [shortened(prompt.prompt) + f"  ({kind})" * bool(kind) for kind, prompt in lines]
    named = [line for line, (kind, _) in enumerate(lines) if kind]
    return alt.Axis(
        labelExpr=f"{json.dumps(labels)}[datum.value]",
        labelFontWeight=alt.when(f"indexof({named}, datum.value) >= 0")  # type: ignore[arg-type]
        .then(alt.value("bold"))
        .otherwise(alt.value("normal")),
        labelLimit=420,
        labelPadding=8,
        domain=False,
        ticks=False,
    )


def _text_panel(view: PromptView, lines: Sequence[tuple[str, Prompt]], axis: alt.Axis | None) -> Any:
    title = f"cosine with “{shortened(view.ranking.object_name, 16)}”"
    x = alt.X("name:Q", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(grid=True, tickCount=4))
    dots = _marks(lines, axis).mark_point(size=60).encode(x=x)
    return _panel([dots], lines, "Input text, each prompt", 190, axis)


def _image_panel(view: PromptView, lines: Sequence[tuple[str, Prompt]], axis: alt.Axis | None) -> Any:
    low, high = _limits(view, lines)
    threshold = _threshold(view)
    note = ""
    if threshold is not None:
        dropped_side = "nearer" if view.ranking.keep == "farther" else "farther"
        note = f"shaded: {dropped_side} than {view.ranking.threshold:g}, dropped by stage 1"
    title = ["cosine with the photograph · L2 distance", *filter(None, [note])]
    scale = alt.Scale(domain=[low, high], nice=False)
    x = alt.X("photograph:Q", title=title, scale=scale, axis=alt.Axis(grid=True, tickCount=5))
    bars = _marks(lines, axis).mark_bar(height=13).encode(x=x)
    texts = (
        alt.Chart(data("prompts"))
        .mark_text(align="left", dx=5, fontSize=10)
        .encode(x=alt.X("end:Q", scale=scale), y=alt.Y("line:O", title=None, axis=axis), text="text:N")
    )
    return _panel([*_stage_1(threshold, view, scale), bars, texts], lines, "Input image, each prompt", 340, axis)


def _marks(lines: Sequence[tuple[str, Prompt]], axis: alt.Axis | None) -> alt.Chart:
    colours = alt.Scale(domain=list(PROMPTS), range=list(PROMPTS.values()))
    tooltip = [alt.Tooltip("prompt:N"), alt.Tooltip("photograph:Q", format=".4f"), alt.Tooltip("name:Q", format=".4f")]
    return alt.Chart(data("prompts")).encode(
        y=alt.Y("line:O", title=None, axis=axis),
        stroke=alt.Stroke("kind:N", scale=colours, legend=None),
        fill=alt.Fill("kind:N", scale=colours, legend=None),
        fillOpacity=alt.FillOpacity("filled:Q", scale=None, legend=None),
        tooltip=tooltip,
    )


def _panel(
    layers: Sequence[alt.Chart], lines: Sequence[tuple[str, Prompt]], title: str, width: int, axis: alt.Axis | None
) -> Any:
    gaps = alt.Chart(data("gaps")).mark_rule(color=GREY, strokeDash=[2, 3])
    gaps = gaps.encode(y=alt.Y("line:O", title=None, axis=axis, bandPosition=1))
    return alt.layer(*layers, gaps).properties(title=title, width=width, height=STEP * len(lines))


def _limits(view: PromptView, lines: Sequence[tuple[str, Prompt]]) -> tuple[float, float]:
    """Return the range of the axis, with room for the texts beside the bars and for the threshold."""
    cosines = [prompt.cosine for _, prompt in lines]
    low, high = min(0.0, *cosines), max(0.0, *cosines)
    threshold, any_dropped = _threshold(view), any(not row.kept for row in view.ranking.rows)
    high += (0.6 if any_dropped else 0.4) * ((high - low) or 1.0)
    return (low, high) if threshold is None else (min(low, threshold - 0.04), max(high, threshold + 0.04))


def _threshold(view: PromptView) -> float | None:
    """The cosine at the threshold of stage 1, an L2 distance d between unit vectors: 1 − d² / 2."""
    if view.ranking.threshold is None or view.ranking.keep is None:
        return None
    return 1 - view.ranking.threshold**2 / 2


def _stage_1(threshold: float | None, view: PromptView, scale: alt.Scale) -> list[alt.Chart]:
    """Draw the threshold of stage 1 and shade the side that it drops."""
    if threshold is None:
        return []
    low, high = scale.domain
    start, end = (threshold, high) if view.ranking.keep == "farther" else (low, threshold)
    one = alt.InlineData([{"start": start, "end": end, "threshold": threshold}])
    shade = alt.Chart(one).mark_rect(color=STAGE_1, opacity=0.16)
    rule = alt.Chart(one).mark_rule(color=STAGE_1, strokeDash=[5, 3])
    return [
        shade.encode(x=alt.X("start:Q", scale=scale), x2="end:Q"),
        rule.encode(x=alt.X("threshold:Q", scale=scale)),
    ]


def _gaps(view: PromptView, lines: Sequence[tuple[str, Prompt]]) -> list[int]:
    """Return the lines below which the chart leaves candidates out."""
    ranks = {row.prompt: i for i, row in enumerate(view.ranking.rows)}
    drawn = [(line, ranks[prompt.prompt]) for line, (_, prompt) in enumerate(lines) if prompt.prompt in ranks]
    return [line - 1 for (_, previous), (line, rank) in itertools.pairwise(drawn) if rank > previous + 1]


def listed_prompts(view: PromptView) -> list[tuple[str, Prompt]]:
    """Return the prompts that a chart shows, by falling cosine, as (name, prompt), without the middle of a long list.

    The name is ``best``, ``worst``, ``only word`` or ``naive``; other prompts have an empty name.
    """
    whole = len(view.ranking.rows) <= TOP_PROMPTS + BOTTOM_PROMPTS
    lines = view.ranking.listed(len(view.ranking.rows) if whole else TOP_PROMPTS, 0 if whole else BOTTOM_PROMPTS)
    return [(line.name, line.prompt) for line in lines]
