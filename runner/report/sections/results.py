"""The results table: every variant's metrics, and its paired differences to the baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from components.metrics.declared import Metric
from runner.console.terminal import tags_note, verdicts_note
from runner.report.context import StudyContext
from runner.report.sections.base import Section
from runner.report.templates import render
from runner.results.comparison import baseline_labels, results_metrics


@dataclass(frozen=True)
class Table:
    """Which columns have anything to say, what has to be explained, and the generator steps of the study.

    tested, fair: the metrics that look at test labels, and those that do not.
    executed, alone: steps of all runs into this folder, and those if every image set had a training of its own.
    """

    tested: Sequence[Metric]
    baselines: Sequence[str]
    fair: Sequence[Metric]
    verdicts: str
    tags: str
    executed: int
    alone: int


class ResultsTable(Section[Table]):
    """A line for each category, detector and variant."""

    def gather(self, study: StudyContext) -> Table | None:
        """None of a search without a chosen point."""
        found = study.comparisons
        if not found:
            return None
        tested, fair = results_metrics(found)
        verdicts = verdicts_note() if any(v.n > 1 for c in found for v in c.against.values()) else ""
        executed, alone = _steps(study)
        return Table(tested, baseline_labels(found), fair, verdicts, tags_note(found), executed, alone)

    def html(self, study: StudyContext, shown: Table) -> str:
        """The table, and what its columns mean."""
        return render("sections/results.html.j2", study=study, shown=shown)


def _steps(study: StudyContext) -> tuple[int, int]:
    """Steps executed for its trainings, those shared with other studies included, and those without any sharing."""
    trained = [cell for cell in study.cells if study.arm(cell).has_trace]
    sets = {cell.image_set: int(study.row(cell)["iterations"]) - 1 for cell in trained}
    keys = {cell.generator for cell in study.cells if cell.generator}
    return sum(study.output.steps[key] for key in keys), sum(sets.values())
