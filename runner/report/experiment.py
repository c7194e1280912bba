"""The data of an experiment's part of the page: its studies, and all their rows together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from goodshot.runner.report.context import StudyContext
from goodshot.runner.results.comparison import Comparison, Row, compare
from goodshot.runner.results.record import ExperimentRecord, read_experiments


@dataclass
class ExperimentContext:
    """An experiment that was run into ``--out``, with those of its studies that are there."""

    record: ExperimentRecord
    studies: Sequence[StudyContext]

    @cached_property
    def rows(self) -> list[Row]:
        """The rows of all studies at all their points, each once."""
        return _once(row for study in self.studies for row in study.rows)

    @cached_property
    def metrics(self) -> dict[str, dict[tuple[str, str], float]]:
        """The long metrics: fingerprint → (subset, metric) → value."""
        return self.studies[0].output.metrics

    @cached_property
    def comparisons(self) -> Sequence[Comparison]:
        """The variants of all studies by category and detector; of a sweep those at its chosen point."""
        return compare(_once(row for study in self.studies for row in _shown(study)))


def read_experiment_contexts(studies: Sequence[StudyContext]) -> list[ExperimentContext]:
    """Return the experiments to which some of these studies belong."""
    found = []
    for record in read_experiments(studies[0].output.results):
        own = [study for study in studies if study.study.name in record.studies and study.rows]
        if own:
            found.append(ExperimentContext(record, own))
    return found


def _shown(study: StudyContext) -> list[Row]:
    """The rows that are compared: of a sweep those at one point, because a mean over points means nothing."""
    return [study.row(cell) for cell in study.point_cells] if study.is_sweep else study.shown


def _once(rows: Iterable[Row]) -> list[Row]:
    return list({row["fingerprint"]: row for row in rows}.values())
