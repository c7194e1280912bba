"""The leading metric over the number of shots, by arm (the paper's Fig. 1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from goodshot.runner.report.across.base import AcrossSection
from goodshot.runner.report.across.pooled import Pooled, pooled
from goodshot.runner.report.blocks import Block, Chart
from goodshot.runner.report.charts import chart
from goodshot.runner.report.experiment import ExperimentContext


class Shots(AcrossSection):
    """A chart for each dataset, with a panel for each detector."""

    name = "shots"
    title = "By the number of shots"

    def blocks(self, experiment: ExperimentContext) -> Iterator[Block]:
        """Return the charts of datasets that were run with several numbers of shots."""
        by_dataset: dict[str, list[Pooled]] = {}
        for line in pooled(experiment):
            by_dataset.setdefault(line.setting[0], []).append(line)
        for dataset, lines in by_dataset.items():
            if len({line.setting[1] for line in lines}) > 1:
                yield _chart(dataset, lines)


def _chart(dataset: str, lines: Sequence[Pooled]) -> Chart:
    import altair as alt

    order = sorted({line.setting[1] for line in lines}, key=lambda shots: (shots == "full", len(shots), shots))
    points = [
        {"shots": line.setting[1], "detector": line.setting[2], "arm": line.label, **_interval(line)} for line in lines
    ]
    colours = {line.label: line.comparisons[0].arm.colour for line in lines}
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    base = alt.Chart().encode(
        x=alt.X("shots:N", sort=order, title="photographs (shots)"),
        color=alt.Color("arm:N", scale=scale, title=None),
    )
    y = alt.Y("mean:Q", title=lines[0].metric.title, scale=alt.Scale(zero=False))
    tooltip = [*("detector:N", "arm:N", "shots:N"), *(alt.Tooltip(f"{n}:Q", format=".3f") for n in ("mean", "std"))]
    layers = alt.layer(
        base.mark_rule(opacity=0.5).encode(y=alt.Y("low:Q", title=""), y2="high:Q"),
        base.mark_line().encode(y=y),
        base.mark_point(filled=True, size=60).encode(y=y, tooltip=tooltip),
        data=alt.InlineData(values=points),
    )
    metric, shown = lines[0].metric.title, ", ".join(colours)
    detectors = ", ".join(dict.fromkeys(line.setting[2] for line in lines))
    drawn = layers.properties(width=190, height=190).facet(facet=alt.Facet("detector:N", title=None), columns=4)
    return Chart(
        f"shots_{dataset}",
        f"{dataset}: {metric} by the number of photographs",
        chart(drawn.resolve_scale(y="independent")),
        f"Lines of {metric} of {shown} over the number of photographs ({', '.join(order)}), for {detectors}.",
        ["Points are means over categories of the means over supports; bars are one standard deviation of these."],
    )


def _interval(line: Pooled) -> dict[str, Any]:
    """Mean and deviation between categories; with one category, between its supports."""
    mean = line.mean
    if mean.std != mean.std:
        from goodshot.components.metrics.summary import mean_std

        mean = mean_std(line.values.values())
    spread = 0.0 if mean.std != mean.std else mean.std
    return {"mean": mean.mean, "std": spread, "low": mean.mean - spread, "high": mean.mean + spread}
