"""The tables of the long metrics: by kind of defect, further metrics, the quality of the added images, and latents.

The kinds of defect of MVTec LOCO are logical, structural, and the mean of both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from goodshot.components.metrics.declared import shown_in
from goodshot.components.metrics.detection import ALL, IMAGE_SET, LOCO_KINDS, MEAN
from goodshot.components.metrics.latents import LATENTS
from goodshot.components.metrics.summary import mean_std
from goodshot.runner.cells.planted import SUBSET
from goodshot.runner.report.blocks import Block, Column, Table, Text, Value, block_name
from goodshot.runner.report.context import StudyContext
from goodshot.runner.report.sections.base import Section
from goodshot.runner.report.values import mean_of
from goodshot.runner.results.comparison import subject_of, variant_label

Key = tuple[str, str]
"""(subset, metric)."""
Measured = Mapping[str, Mapping[Key, float]]
"""fingerprint → the values of the long table, for the rows of one variant."""


class Breakdowns(Section):
    """Tables for each category and detector at the chosen point, or else at a sweep's last declared point."""

    name = "breakdowns"
    title = "By kind of defect, and further metrics"

    def blocks(self, study: StudyContext) -> Iterator[Block]:
        """Yield the tables without the rows that have no long metric and the columns that have no value."""
        at_point, metrics = {cell.fingerprint for cell in study.point_cells}, study.output.metrics
        groups: dict[tuple[str, str], dict[str, dict[str, Mapping[Key, float]]]] = {}
        for row in study.shown:
            fingerprint = row["fingerprint"]
            if fingerprint in at_point and fingerprint in metrics:
                variants = groups.setdefault((str(row["category"]), subject_of(row)), {})
                variants.setdefault(variant_label(row), {})[fingerprint] = metrics[fingerprint]
        tables = [table for (c, subject), variants in groups.items() for table in _tables((c, subject), variants)]
        if tables:
            point = "chosen" if study.trials else "last declared" if study.is_sweep else ""
            of = f"Of the {point} point. " if point else ""
            yield Text(
                f"{of}Means ± std over supports. A kind of defect is measured against all good images; bootstrap "
                "intervals of each row are in metrics/.",
                "note",
            )
        yield from tables


def _tables(group: tuple[str, str], variants: Mapping[str, Measured]) -> list[Table]:
    present = {key for measured in variants.values() for values in measured.values() for key in values}
    kinds = _kinds({subset for subset, _ in present})
    titles = {kind: kind.replace("_", " ") for kind in kinds}
    tables = [
        _table(group, f"{metric.full_title} by kind of defect", {(k, metric.name): titles[k] for k in kinds}, variants)
        for metric in shown_in("by_kind")
        if len(kinds) > 1
    ]
    further = {(ALL, metric.name): metric.full_title for metric in shown_in("further")}
    tables.append(_table(group, "further metrics", further, variants))
    of_images = dict.fromkeys((*shown_in("image_set"), *shown_in("defect_images")))
    quality = {(IMAGE_SET, metric.name): metric.full_title for metric in of_images}
    tables.append(_table(group, "the images added", quality, _with_images(variants)))
    latents = {(LATENTS, metric.name): metric.full_title for metric in shown_in("latents")}
    tables.append(_table(group, "the sampled latents", latents, variants))
    return [table for table in tables if len(table.columns) > 1]


def _with_images(variants: Mapping[str, Measured]) -> dict[str, Measured]:
    """Return the variants that have a metric of the images that they add."""
    return {
        label: measured
        for label, measured in variants.items()
        if any(subset == IMAGE_SET for values in measured.values() for subset, _ in values)
    }


def _kinds(subsets: set[str]) -> list[str]:
    """Return the subsets that are kinds of defect, by name; LOCO's two kinds and their mean come in that order.

    A name with a slash is a subset of something else than the test images, such as of synthetic anomalies, or of one
    of two systems.
    """
    kinds = {s for s in subsets if s not in (ALL, SUBSET, IMAGE_SET, LATENTS) and "/" not in s}
    return sorted(kinds, key=lambda s: (s == MEAN, LOCO_KINDS.index(s) if s in LOCO_KINDS else 0, s))


def _table(group: tuple[str, str], title: str, columns: Mapping[Key, str], variants: Mapping[str, Measured]) -> Table:
    """Average over the supports whose value is defined; a column without any defined value is left out."""
    cells = {key: {label: _mean(measured, key) for label, measured in variants.items()} for key in columns}
    used = [key for key, by_label in cells.items() if any(v.number is not None for v in by_label.values())]
    return Table(
        name=block_name("breakdowns", *group, title),
        title=f"{', '.join(group)}: {title}",
        columns=[Column("trained_on", "trained on"), *(Column(block_name(*key), columns[key]) for key in used)],
        lines=[[label, *(cells[key][label] for key in used)] for label in variants],
        folded=True,
    )


def _mean(measured: Measured, key: Key) -> Value:
    defined = {f: values[key] for f, values in measured.items() if math.isfinite(values.get(key, math.nan))}
    return mean_of(mean_std(defined.values()), tuple(defined), "/".join(key))
