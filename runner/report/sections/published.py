"""The comparison of a study's results with published numbers, which its experiment lists as references."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from goodshot.components.metrics.declared import Metric, metric_of
from goodshot.components.metrics.summary import MeanStd, mean_std
from goodshot.runner.report.blocks import Block, Column, Table, TableCell
from goodshot.runner.report.context import StudyContext
from goodshot.runner.report.sections.base import Section
from goodshot.runner.report.values import fingerprints, mean_of, number_value
from goodshot.runner.study.experiment import Reference


@dataclass(frozen=True)
class PublishedComparison:
    """One published number, and the mean of the study's rows that measure the same quantity.

    own: the mean ± std over the rows of one variant, over its supports. rows: the fingerprints of these rows.
    label: the variant and its detector.
    """

    reference: Reference
    own: MeanStd
    rows: tuple[str, ...]
    label: str
    metric: Metric

    @property
    def points(self) -> float:
        """The difference in percentage points: 100 × (measured − published)."""
        return 100 * (self.own.mean - self.reference.value)

    @property
    def relative(self) -> float | None:
        """The difference as a fraction of the published number; None if that number is 0."""
        return (self.own.mean - self.reference.value) / self.reference.value if self.reference.value else None


class Published(Section):
    """A table with a line for each published number and each variant that can be compared with it."""

    name = "published"
    title = "Comparison with published numbers"

    def blocks(self, study: StudyContext) -> Iterator[Block]:
        """Yield the table; nothing for a study without published numbers."""
        comparisons = _comparisons(study)
        if not comparisons:
            return
        titles = list(dict.fromkeys(line.metric.title for line in comparisons))
        yield Table(
            name=self.name,
            title="Measured here and published",
            columns=[
                Column("category", "category"),
                Column("measured", "measured here"),
                Column("own", titles[0] if len(titles) == 1 else "mean"),
                Column("published", "published"),
                Column("points", "points", "the difference in percentage points"),
                Column("relative", "relative", "the difference as a share of the published number"),
                Column("setting", "published setting"),
            ],
            lines=[_line(line) for line in comparisons],
            notes=[_sources(comparisons), _setting(study)],
        )


def _comparisons(study: StudyContext) -> list[PublishedComparison]:
    found: list[PublishedComparison] = []
    for record in study.output.experiments:
        if study.study.name in record.studies:
            for reference in record.references:
                found += _published_comparisons(study, reference)
    return found


def _published_comparisons(study: StudyContext, reference: Reference) -> Iterator[PublishedComparison]:
    """Compare a published number with each variant whose rows measure the same quantity."""
    metric = metric_of(reference.metric)
    for comparison in study.comparisons:
        rows = [row for row in comparison.rows.values() if reference.matches(row) and row.get(metric.name) is not None]
        if rows:
            own = mean_std(float(row[metric.name]) for row in rows)
            label = f"{comparison.label}, {comparison.subject}"
            yield PublishedComparison(reference, own, fingerprints(rows), label, metric)


def _line(line: PublishedComparison) -> list[TableCell]:
    relative = line.relative
    return [
        str(line.reference.where.get("category", "")),
        line.label,
        mean_of(line.own, line.rows, line.metric.name),
        number_value(line.reference.value, f"{line.reference.value:.3f}"),
        number_value(line.points, f"{line.points:+.1f}"),
        None if relative is None else number_value(relative, f"{100 * relative:+.1f} %"),
        line.reference.setting,
    ]


def _sources(comparisons: list[PublishedComparison]) -> str:
    return f"Published: {'; '.join(dict.fromkeys(line.reference.source for line in comparisons))}."


def _setting(study: StudyContext) -> str:
    if study.study.preset == "paper":
        return "The study uses the preset of the paper."
    return (
        "The study differs from the paper in its setting (backbone, encoder or generator), so this compares a "
        "substitute with the paper and is no reproduction."
    )
