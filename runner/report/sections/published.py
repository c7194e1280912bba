"""The comparison of a study's results with published numbers, which its experiment lists as references."""

from __future__ import annotations

from dataclasses import dataclass

from goodshot.components.metrics import declared
from goodshot.components.metrics.declared import metric_of
from goodshot.components.metrics.summary import MeanStd, mean_std
from goodshot.runner.report.context import StudyContext
from goodshot.runner.report.sections.base import Section
from goodshot.runner.report.templates import render
from goodshot.runner.results.record import read_experiments
from goodshot.runner.study.experiment import Reference


@dataclass(frozen=True)
class PublishedComparison:
    """One published number, and the mean of the study's rows that measure the same quantity.

    own: the mean ± std over the rows of one variant, over its supports.
    label: the variant and its detector.
    title: the metric's title.
    """

    reference: Reference
    own: MeanStd
    label: str
    title: str

    @property
    def points(self) -> float:
        """The difference in percentage points: 100 × (measured − published)."""
        return 100 * (self.own.mean - self.reference.value)

    @property
    def relative(self) -> float | None:
        """The difference as a fraction of the published number; None if that number is 0."""
        return (self.own.mean - self.reference.value) / self.reference.value if self.reference.value else None


class Published(Section[list[PublishedComparison]]):
    """A table with a line for each published number and each variant that can be compared with it."""

    def gather(self, study: StudyContext) -> list[PublishedComparison] | None:
        """Return the comparisons; None for a study without published numbers."""
        comparisons: list[PublishedComparison] = []
        for record in read_experiments(study.output.results):
            if study.study.name in record.studies:
                for reference in filter(_is_comparable, record.references):
                    comparisons += _published_comparisons(study, reference)
        return comparisons or None

    def html(self, study: StudyContext, shown: list[PublishedComparison]) -> str:
        """Render the table; its note says whether the study uses the paper's setting."""
        return render("sections/published.html.j2", study=study, shown=shown)


def _is_comparable(reference: Reference) -> bool:
    """Whether single rows hold what it states: no gain, no mean over categories, and a metric that rows have."""
    is_known = any(reference.metric == metric.name for metric in declared.METRICS)
    return is_known and reference.kind == "paper" and reference.is_of_one_row


def _published_comparisons(study: StudyContext, reference: Reference) -> list[PublishedComparison]:
    """Compare a published number with each variant whose rows measure the same quantity."""
    metric = metric_of(reference.metric)
    comparisons = []
    for comparison in study.comparisons:
        values = [
            float(row[metric.name])
            for row in comparison.rows.values()
            if reference.matches(row) and row.get(metric.name) is not None
        ]
        if values:
            label = f"{comparison.label}, {comparison.subject}"
            comparisons.append(PublishedComparison(reference, mean_std(values), label, metric.title))
    return comparisons
