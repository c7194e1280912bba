"""The rankings of prompts by their similarity to the object's name and to its photograph (the paper's Fig. 8)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from goodshot.components.prompts import Ranking
from goodshot.components.prompts.ranking import Prompt
from goodshot.runner.console.terminal import shortened
from goodshot.runner.report.context import StudyContext, support_label
from goodshot.runner.report.drawing import GREEN, GREY, ORANGE, PURPLE, RC, SKY, VERMILLION, svg
from goodshot.runner.report.sections.base import Section
from goodshot.runner.report.templates import render
from goodshot.runner.results.record import CellRecord

TOP_PROMPTS, BOTTOM_PROMPTS = 10, 5
# The colours of the highlighted prompts, by the names that rankings give them; all other prompts are grey.
PROMPTS = {"best": GREEN, "only word": SKY, "naive": ORANGE, "caption": PURPLE, "worst": VERMILLION}


@dataclass(frozen=True)
class PromptView:
    """The ranking of one support's prompts."""

    category: str
    support: str
    ranking: Ranking


class Prompts(Section[list[PromptView]]):
    """A chart and a table for each prompt ranking of the supports whose images are shown."""

    def gather(self, study: StudyContext) -> list[PromptView] | None:
        """Read the rankings that the page does not show yet."""
        with_prompt = [cell for cell in study.cells_with_shown_images if cell.prompt]
        cells = study.not_yet_shown(with_prompt, lambda cell: cell.prompt)
        return study.read_each("prompts", cells, lambda cell: _view(study, cell)) or None

    def html(self, study: StudyContext, shown: list[PromptView]) -> str:
        """Render the charts, then the folded tables."""
        return render("sections/prompts.html.j2", rankings=[(view, prompt_ranking(view)) for view in shown])


def _view(study: StudyContext, cell: CellRecord) -> PromptView:
    ranking = Ranking.from_json(study.output.store.get(str(cell.prompt)).read("ranking.json"))
    return PromptView(cell.category, support_label(study.row(cell)), ranking)


def prompt_ranking(view: PromptView) -> str:
    """Draw the paper's Fig. 8 as an SVG data URI, one line for each prompt.

    The left panel shows the cosine with the object's name, the right one the cosine with the photograph and the
    threshold of stage 1. An early version stored rankings without the cosine with the name: they have no left panel.
    """
    lines = listed_prompts(view)
    has_text_cosines = all(prompt.text_cosine is not None for _, prompt in lines)
    with mpl.rc_context({**RC, "axes.grid.axis": "x"}):
        labels = [shortened(prompt.prompt) + f"  ({kind})" * bool(kind) for kind, prompt in lines]
        widths = (2.3, 4.6) if has_text_cosines else (4.6,)
        size = (sum(widths) + 0.075 * max(map(len, labels)), 0.25 * len(lines) + 1.6)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, len(widths), sharey=True, width_ratios=widths, squeeze=False)[0]
        panels[0].set_yticks(range(len(lines)), labels, fontsize=8.5)
        for tick, (kind, _) in zip(panels[0].get_yticklabels(), lines, strict=True):
            tick.set_fontweight("bold" if kind else "normal")
        if has_text_cosines:
            _draw_text_cosines(panels[0], lines, view)
        _draw_image_cosines(panels[-1], lines, view)
        panels[0].set_ylim(len(lines) - 0.4, -0.6)
        for axes in panels:
            axes.hlines(_gaps(view, lines), *axes.get_xlim(), color="#777777", linestyle=":", linewidth=1)
        figure.suptitle(
            f"{shortened(view.category)}, {view.support}", x=0.01, ha="left", fontsize=11, fontweight="bold"
        )
        return svg(figure)


def _draw_text_cosines(axes: Axes, lines: Sequence[tuple[str, Prompt]], view: PromptView) -> None:
    dropped = _dropped(view)
    for y, (kind, prompt) in enumerate(lines):
        colour = PROMPTS.get(kind, GREY)
        face = "white" if prompt.prompt in dropped else colour
        axes.scatter([prompt.text_cosine or 0.0], [y], s=34, facecolors=face, edgecolors=colour, zorder=2)
    axes.set(title="Input text, each prompt", xlabel=f"cosine with “{shortened(view.ranking.object_name, 16)}”")


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
    """Draw the threshold of stage 1 and shade the side that it drops; return the text that explains the shading.

    The threshold is an L2 distance d between unit vectors, so it lies at the cosine 1 − d² / 2.
    """
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
    """Return the heights between two lines at which the chart leaves candidates out."""
    ranks = {row.prompt: i for i, row in enumerate(view.ranking.rows)}
    drawn = [(y, ranks[prompt.prompt]) for y, (_, prompt) in enumerate(lines) if prompt.prompt in ranks]
    return [y - 0.5 for (_, previous), (y, rank) in itertools.pairwise(drawn) if rank > previous + 1]


def _dropped(view: PromptView) -> set[str]:
    return {row.prompt for row in view.ranking.rows if not row.kept}


def listed_prompts(view: PromptView) -> list[tuple[str, Prompt]]:
    """Return the prompts that a chart shows, by falling cosine, as (name, prompt), without the middle of a long list.

    The name is ``best``, ``worst``, ``only word``, ``naive`` or ``caption``; other prompts have an empty name.
    """
    whole = len(view.ranking.rows) <= TOP_PROMPTS + BOTTOM_PROMPTS
    lines = view.ranking.listed(len(view.ranking.rows) if whole else TOP_PROMPTS, 0 if whole else BOTTOM_PROMPTS)
    return [(line.name, line.prompt) for line in lines]
