"""The data of an experiment's part of the page: its studies, and all their rows together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from goodshot.components.metrics.declared import PROMPT_COSINE
from goodshot.components.metrics.detection import ALL
from goodshot.runner.report.context import StudyContext
from goodshot.runner.results.comparison import Comparison, Row, compare
from goodshot.runner.results.record import CellRecord, ExperimentRecord
from goodshot.runner.stages.prompt import PromptStage, read_ranking


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
        """The long metrics, and the cosine of each row's prompt: fingerprint → (subset, metric) → value."""
        values = dict(self.studies[0].output.metrics)
        for study in self.studies:
            for cell in study.cells:
                if (cosine := _prompt_cosine(study, cell)) is not None:
                    own = values.get(cell.fingerprint, {})
                    values[cell.fingerprint] = {**own, (ALL, PROMPT_COSINE.name): cosine}
        return values

    @cached_property
    def comparisons(self) -> Sequence[Comparison]:
        """The variants of all studies by category and detector; for a sweep, those at its chosen point."""
        return compare(_once(row for study in self.studies for row in _shown(study)))


def read_experiment_contexts(studies: Sequence[StudyContext]) -> list[ExperimentContext]:
    """Return the experiments to which some of these studies belong."""
    found = []
    for record in studies[0].output.experiments:
        own = [study for study in studies if study.study.name in record.studies and study.rows]
        if own:
            found.append(ExperimentContext(record, own))
    return found


def _prompt_cosine(study: StudyContext, cell: CellRecord) -> float | None:
    """The cosine of a row's prompt with its photograph (eq. 1), read from the store; None without a prompt."""
    kind, key = study.row(cell)["prompt_kind"], cell.key_of(PromptStage)
    if key is None or kind is None:
        return None
    ranking = study.read(f"prompts of {cell.category}", partial(read_ranking, study.output.store, key))
    return None if ranking is None else ranking.of_kind[kind].cosine


def _shown(study: StudyContext) -> list[Row]:
    """The compared rows: for a sweep, those at one point, because a mean over points has no meaning."""
    return [study.row(cell) for cell in study.point_cells] if study.is_sweep else study.shown


def _once(rows: Iterable[Row]) -> list[Row]:
    return list({row["fingerprint"]: row for row in rows}.values())
