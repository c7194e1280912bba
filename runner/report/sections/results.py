"""The results table: the metrics of every variant, and its paired differences to the baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from goodshot.components.metrics.declared import Metric
from goodshot.runner.console.terminal import tags_note, verdicts_note
from goodshot.runner.report.context import StudyContext
from goodshot.runner.report.sections.base import Section
from goodshot.runner.report.templates import render
from goodshot.runner.results.comparison import baseline_labels, results_metrics


@dataclass(frozen=True)
class Table:
    """The columns of the table, the notes below it, and the generator steps of the study.

    tested, fair: the metrics that say how good a variant is, and those that a study may choose by without test labels.
    baselines: the labels of the baselines that variants are compared with.
    verdicts, tags: notes that explain the verdicts and the categories' tags; empty if there are none.
    executed: training steps executed in all runs into this folder.
    unshared: training steps if every image set had its own training.
    """

    tested: Sequence[Metric]
    baselines: Sequence[str]
    fair: Sequence[Metric]
    verdicts: str
    tags: str
    executed: int
    unshared: int


class ResultsTable(Section[Table]):
    """A line for each category, detector and variant."""

    def gather(self, study: StudyContext) -> Table | None:
        """Return the table's columns and notes; None if there is nothing to compare, as before a search has chosen."""
        comparisons = study.comparisons
        if not comparisons:
            return None
        tested, fair = results_metrics(comparisons)
        verdicts = (
            verdicts_note()
            if any(v is not None and v.n > 1 for c in comparisons for v in map(c.judged, c.against))
            else ""
        )
        executed, unshared = _steps(study)
        return Table(tested, baseline_labels(comparisons), fair, verdicts, tags_note(comparisons), executed, unshared)

    def html(self, study: StudyContext, shown: Table) -> str:
        """Render the table and the notes that explain its columns."""
        return render("sections/results.html.j2", study=study, shown=shown)


def _steps(study: StudyContext) -> tuple[int, int]:
    """Return the executed steps of the study's trainings, and the steps if every image set had its own training.

    The executed steps include those that other studies made of the same trainings.
    """
    generated = [cell for cell in study.cells if study.arm(cell).has_trace and cell.image_set]
    steps_of_set = {cell.image_set: int(study.row(cell)["iterations"]) - 1 for cell in generated}
    trainings = {cell.generator for cell in study.cells if cell.generator}
    return sum(study.output.steps[key] for key in trainings), sum(steps_of_set.values())
