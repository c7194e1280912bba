"""The tables of the long metrics: by kind of defect, further metrics, the quality of the added images, and latents.

The kinds of defect of MVTec LOCO are logical, structural, and the mean of both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from goodshot.components.metrics.declared import shown_in
from goodshot.components.metrics.detection import ALL, IMAGE_SET, LOCO_KINDS, MEAN
from goodshot.components.metrics.latents import LATENTS
from goodshot.components.metrics.summary import MeanStd, mean_std
from goodshot.runner.cells.planted import SUBSET
from goodshot.runner.report.context import StudyContext
from goodshot.runner.report.sections.base import Section
from goodshot.runner.report.templates import render
from goodshot.runner.results.comparison import subject_of, variant_label

Values = Mapping[tuple[str, str], float]
"""(subset, metric) → value, for one row."""


@dataclass(frozen=True)
class Breakdown:
    """One table: its title, its columns, and for each variant the mean ± std over supports in each column."""

    title: str
    columns: tuple[str, ...]
    lines: Mapping[str, tuple[MeanStd, ...]]


class Breakdowns(Section[list[Breakdown]]):
    """Tables for each category and detector at the chosen point, or else at a sweep's last declared point."""

    def gather(self, study: StudyContext) -> list[Breakdown] | None:
        """Return the tables without the rows that have no long metric and the columns that have no value."""
        at_point, metrics = {cell.fingerprint for cell in study.point_cells}, study.output.metrics
        groups: dict[tuple[str, str], dict[str, list[Values]]] = {}
        for row in study.shown:
            if row["fingerprint"] in at_point & metrics.keys():
                variants = groups.setdefault((str(row["category"]), subject_of(row)), {})
                variants.setdefault(variant_label(row), []).append(metrics[row["fingerprint"]])
        return [
            table
            for (category, subject), variants in groups.items()
            for table in _tables(f"{category}, {subject}", variants)
        ] or None

    def html(self, study: StudyContext, shown: list[Breakdown]) -> str:
        """Render the tables folded, because there may be many."""
        return render("sections/breakdowns.html.j2", study=study, tables=shown)


def _tables(name: str, variants: Mapping[str, Sequence[Values]]) -> list[Breakdown]:
    present = {key for values in variants.values() for v in values for key in v}
    kinds = _kinds({subset for subset, _ in present})
    titles = {kind: kind.replace("_", " ") for kind in kinds}
    tables = [
        _table(f"{name}: {metric.full_title} by kind of defect", {(k, metric.name): titles[k] for k in kinds}, variants)
        for metric in shown_in("by_kind")
        if len(kinds) > 1
    ]
    further = {(ALL, metric.name): metric.full_title for metric in shown_in("further")}
    tables.append(_table(f"{name}: further metrics", further, variants))
    with_images = {label: rows for label, rows in variants.items() if any(s == IMAGE_SET for v in rows for s, _ in v)}
    quality = {(IMAGE_SET, metric.name): metric.full_title for metric in shown_in("image_set")}
    tables.append(_table(f"{name}: the images added", quality, with_images))
    latents = {(LATENTS, metric.name): metric.full_title for metric in shown_in("latents")}
    tables.append(_table(f"{name}: the sampled latents", latents, variants))
    return [table for table in tables if table.columns]


def _kinds(subsets: set[str]) -> list[str]:
    """Return the subsets that are kinds of defect, by name; LOCO's two kinds and their mean come in that order."""
    kinds = {s for s in subsets if s != ALL and s.partition("/")[0] != SUBSET and s not in (IMAGE_SET, LATENTS)}
    return sorted(kinds, key=lambda s: (s == MEAN, LOCO_KINDS.index(s) if s in LOCO_KINDS else 0, s))


def _table(title: str, columns: Mapping[tuple[str, str], str], variants: Mapping[str, Sequence[Values]]) -> Breakdown:
    """Average over the supports whose value is defined; a column without any defined value is left out."""
    means = {
        key: {
            label: mean_std(v[key] for v in values if math.isfinite(v.get(key, math.nan)))
            for label, values in variants.items()
        }
        for key in columns
    }
    used = [key for key, by_label in means.items() if any(math.isfinite(m.mean) for m in by_label.values())]
    lines = {label: tuple(means[key][label] for key in used) for label in variants}
    return Breakdown(title, tuple(columns[key] for key in used), lines)
