"""The distribution of a generator's sampled latents with and without variance (the paper's Fig. 10)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from goodshot.components.metrics.latents import EDGES
from goodshot.runner.console.terminal import shortened
from goodshot.runner.report.blocks import Block, Chart, Text, block_name
from goodshot.runner.report.charts import GREY, chart, data, series_colours
from goodshot.runner.report.context import StudyContext, support_label
from goodshot.runner.report.sections.base import Section
from goodshot.runner.results.comparison import Row, variant_label
from goodshot.runner.results.record import CellRecord
from goodshot.runner.stages.latents import LatentFigures, LatentsStage, read_latents


@dataclass(frozen=True)
class Sampled:
    """The measured latents of one generator; ``label`` distinguishes it from the category's other generators."""

    category: str
    label: str
    figures: LatentFigures


class Latents(Section):
    """A histogram of the standardised latents, and their first two principal components, for each category."""

    name = "latents"
    title = "Sampled latents"

    def blocks(self, study: StudyContext) -> Iterator[Block]:
        """Yield the charts of the first support of each category; nothing for a study without such cells."""
        cells = [cell for cell in study.cells_with_shown_images if _key(cell)]
        groups: dict[str, list[Sampled]] = {}
        for sampled in study.read_each("latents", cells, lambda cell: _sampled(study, cell)):
            groups.setdefault(sampled.category, []).append(sampled)
        if groups:
            yield Text(
                "Left: all latents that the generator samples, standardised channel by channel, beside the normal "
                "distribution (grey). Right: the first two principal components of the samples and of the codes of the "
                "augmented views of the photograph that they are drawn around; each panel has its own components.",
                "note",
            )
        for category, own in groups.items():
            labels = ", ".join(sampled.label for sampled in own)
            yield Chart(
                name=block_name("latents", category),
                title=f"{shortened(category)}: distribution of the latents",
                specification=_histogram(own),
                description=f"Density of the standardised latents of {category} by {labels}, and the normal density",
            )
            yield Chart(
                name=block_name("latent components", category),
                title=f"{shortened(category)}: samples and views",
                specification=_components(own),
                description=f"Scatter of two principal components of samples and views of {category} by {labels}",
            )


def _key(cell: CellRecord) -> str | None:
    """The key of the measurement that the cell reads; None for a cell of another kind."""
    return cell.key_of(LatentsStage)


def _sampled(study: StudyContext, cell: CellRecord) -> Sampled:
    row = study.row(cell)
    return Sampled(cell.category, _label(row), read_latents(study.output.store, str(_key(cell))))


def _label(row: Row) -> str:
    """Return the label of the variant, also if it is the default one."""
    return f"{variant_label(row).partition(' ')[0]}, variance {row['variance']}, {support_label(row)}"


def _histogram(sampled: Sequence[Sampled]) -> Mapping[str, Any]:
    base = alt.Chart(data("latents")).encode(
        x=alt.X("z:Q", title="standardised latent", scale=alt.Scale(domain=[-5, 5])),
        y=alt.Y("density:Q", title="density"),
    )
    labels = [each.label for each in sampled]
    coloured = alt.Color(
        "generator:N",
        title=None,
        scale=series_colours(labels),
        legend=alt.Legend(orient="bottom", columns=1),
    )
    drawn = alt.layer(
        base.transform_filter("!isValid(datum.generator)").mark_area(color=GREY, opacity=0.35),
        base.transform_filter("isValid(datum.generator)")
        .mark_line(interpolate="step", strokeWidth=1.5)
        .encode(color=coloured, tooltip=["generator:N", "z:Q", alt.Tooltip("density:Q", format=".3f")]),
    ).properties(width=400, height=220)
    return chart(drawn, latents=list(_densities(sampled)))


def _densities(sampled: Sequence[Sampled]) -> Iterator[dict[str, Any]]:
    """The density in each bin: of the normal distribution without a generator, then of each generator."""
    centres, width = (EDGES[:-1] + EDGES[1:]) / 2, EDGES[1] - EDGES[0]
    for z in centres.tolist():
        yield {"z": round(z, 3), "density": round(math.exp(-z * z / 2) / math.sqrt(2 * math.pi), 5)}
    for each in sampled:
        counts = each.figures.counts
        for z, density in zip(centres.tolist(), (counts / (counts.sum() * width)).tolist(), strict=True):
            yield {"generator": each.label, "z": round(z, 3), "density": round(density, 5)}


def _components(sampled: Sequence[Sampled]) -> Mapping[str, Any]:
    axis = alt.Axis(labels=False, ticks=False)
    panel = (
        alt.Chart(data("components"))
        .mark_point(size=40)
        .encode(
            x=alt.X("first:Q", title="first component", axis=axis),
            y=alt.Y("second:Q", title="second component", axis=axis),
            color=alt.Color("kind:N", title=None, scale=series_colours(["sample", "view"])),
            shape=alt.Shape("kind:N", title=None, scale=alt.Scale(domain=["sample", "view"])),
        )
        .properties(width=190, height=170)
        .facet(facet=alt.Facet("generator:N", title=None), columns=2)
        .resolve_scale(x="independent", y="independent")
    )
    return chart(panel, components=list(_points(sampled)))


def _points(sampled: Sequence[Sampled]) -> Iterator[dict[str, Any]]:
    for each in sampled:
        for kind, points in (("sample", each.figures.samples), ("view", each.figures.views)):
            for first, second in points.tolist():
                yield {
                    "generator": each.label,
                    "kind": kind,
                    "first": float(f"{first:.4g}"),
                    "second": float(f"{second:.4g}"),
                }
