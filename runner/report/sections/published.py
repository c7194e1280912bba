"""Published numbers beside the study's own, for a study that an experiment has published numbers for."""

from __future__ import annotations

from dataclasses import dataclass

from components.metrics.declared import metric_of
from components.metrics.summary import MeanStd, mean_std
from runner.report.context import StudyContext
from runner.report.sections.base import Section
from runner.report.templates import render
from runner.results.record import read_experiments
from runner.study.experiment import Reference


@dataclass(frozen=True)
class Beside:
    """One published number, and the mean of the study's own rows that measure the same thing."""

    reference: Reference
    own: MeanStd
    label: str
    title: str

    @property
    def points(self) -> float:
        """The difference in points, a hundredth each."""
        return 100 * (self.own.mean - self.reference.value)

    @property
    def relative(self) -> float | None:
        """The difference relative to the published number; None where that is 0."""
        return (self.own.mean - self.reference.value) / self.reference.value if self.reference.value else None


class Published(Section[list[Beside]]):
    """A line for each published number that the study's rows can be compared with."""

    def gather(self, study: StudyContext) -> list[Beside] | None:
        """None of a study without published numbers."""
        found: list[Beside] = []
        for record in read_experiments(study.output.results):
            if study.study.name in record.studies:
                found += [each for reference in record.references for each in _beside(study, reference)]
        return found or None

    def html(self, study: StudyContext, shown: list[Beside]) -> str:
        """A table; its note says that another setting is no comparison of like with like."""
        return render("sections/published.html.j2", study=study, shown=shown)


def _beside(study: StudyContext, reference: Reference) -> list[Beside]:
    """One for each variant whose rows measure the same thing."""
    metric = metric_of(reference.metric)
    found = []
    for comparison in study.comparisons:
        values = [
            float(row[metric.name])
            for row in comparison.rows.values()
            if reference.matches(row) and row.get(metric.name) is not None
        ]
        if values:
            label = f"{comparison.label}, {comparison.subject}"
            found.append(Beside(reference, mean_std(values), label, metric.title))
    return found
