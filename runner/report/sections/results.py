"""The results table: the metrics of every variant, and its paired differences to the baselines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from goodshot.components.metrics.declared import Metric
from goodshot.runner.console.terminal import record, seeds_note, tags_note, verdict, verdicts_note
from goodshot.runner.declaration.points import OF_A_TRAINING
from goodshot.runner.report.blocks import Block, Column, Table, TableCell, block_name
from goodshot.runner.report.context import StudyContext
from goodshot.runner.report.sections.base import Section
from goodshot.runner.report.values import difference_value, mean_value, number_value
from goodshot.runner.results.comparison import Comparison, baseline_labels, by_kind, results_metrics
from goodshot.runner.stages.training import TrainingStage, updates_to


class ResultsTable(Section):
    """A table for each kind of cell, with a line for each category, detector and variant."""

    name = "results"
    title = "Results"

    def blocks(self, study: StudyContext) -> Iterator[Block]:
        """Yield the tables; nothing if there are no rows to compare, for example before a search has chosen."""
        kinds = by_kind(study.comparisons)
        title = "Results at the chosen point" if study.is_search else "Results of each category"
        for kind, comparisons in kinds.items():
            is_first = kind == next(iter(kinds))
            yield _table(
                study,
                comparisons,
                # The tables of a study with one kind of cell keep a name that does not depend on the kind.
                name=self.name if is_first else block_name(self.name, kind),
                title=title if len(kinds) == 1 else f"{title}: {kind}",
            )


def _table(study: StudyContext, comparisons: Sequence[Comparison], name: str, title: str) -> Table:
    tested, fair = results_metrics(comparisons)
    baselines, has_verdicts = baseline_labels(comparisons), _has_verdicts(comparisons)
    has_one_subject = len({c.subject for c in comparisons}) == 1
    return Table(
        name=name,
        title=title,
        columns=[
            *_columns_of_variants(study, has_one_subject),
            *map(_column, tested),
            *(column for label in baselines for column in _columns_against(label, has_verdicts)),
            *map(_column, fair),
        ],
        lines=[
            [
                *_variant(study, c, has_one_subject),
                *(mean_value(c, metric) for metric in tested),
                *(cell for label in baselines for cell in _against(c, label, has_verdicts)),
                *(mean_value(c, metric) for metric in fair),
            ]
            for c in comparisons
        ],
        notes=list(_notes(study, comparisons, has_verdicts)),
    )


def _has_verdicts(comparisons: Sequence[Comparison]) -> bool:
    judged = (c.judged(baseline) for c in comparisons for baseline in c.against)
    return any(paired is not None and paired.n > 1 for paired in judged)


def _columns_of_variants(study: StudyContext, has_one_subject: bool) -> Iterator[Column]:
    yield Column("category", "category")
    if not has_one_subject:
        yield Column("detector", "detector")
    yield Column("trained_on", "trained on", "what the detector was trained on besides the original photographs")
    if study.is_sweep:
        yield from (Column(field.name, field.symbol, field.meaning) for field in OF_A_TRAINING)


def _variant(study: StudyContext, comparison: Comparison, has_one_subject: bool) -> Iterator[TableCell]:
    yield comparison.category
    if not has_one_subject:
        yield comparison.subject
    yield comparison.label
    if study.is_sweep:
        values = (comparison.variant[field.name] for field in OF_A_TRAINING)
        yield from (None if value is None else number_value(value, f"{value:g}") for value in values)


def _column(metric: Metric) -> Column:
    return Column(metric.name, metric.title)


def _columns_against(baseline: str, has_verdicts: bool) -> Iterator[Column]:
    yield Column(block_name("minus", baseline), f"− {baseline}", "the mean paired difference and its 95 % interval")
    if has_verdicts:
        explanation = "pairs in which it was better : worse, and what follows"
        yield Column(block_name("verdict against", baseline), "won:lost · verdict", explanation)


def _against(comparison: Comparison, baseline: str, has_verdicts: bool) -> Iterator[TableCell]:
    yield difference_value(comparison, baseline)
    if has_verdicts:
        paired = comparison.judged(baseline)
        yield f"{record(paired)} · {verdict(paired)}" if verdict(paired) else None


def _notes(study: StudyContext, comparisons: Sequence[Comparison], has_verdicts: bool) -> Iterator[str]:
    tags = tags_note(comparisons)
    yield f"{seeds_note(comparisons)}."
    if has_verdicts:
        yield f"{verdicts_note()}."
    if tags:
        yield f"{tags}."
    executed, unshared = _steps(study)
    if not study.trials and 0 < executed < unshared:
        yield (
            f"Generator steps: {executed} executed, those shared with other studies and outputs included; "
            f"training every image set on its own takes {unshared} ({unshared / executed:.1f} times as many)."
        )


def _steps(study: StudyContext) -> tuple[int, int]:
    """Return the executed steps of the study's trainings, and the steps if every image set had its own training.

    The executed steps include those that other studies made of the same trainings, and those that runs into another
    folder made before, which the store had.
    """
    needed: dict[str, int] = {}
    steps_of_set: dict[str, int] = {}
    for cell in study.cells:
        training = cell.key_of(TrainingStage)
        if study.arm(cell).has_trace and cell.image_set and training:
            steps = updates_to(study.row(cell)["iterations"])
            steps_of_set[cell.image_set] = steps
            needed[training] = max(steps, needed.get(training, 0))
    executed = sum(max(steps, study.output.steps[key]) for key, steps in needed.items())
    return executed, sum(steps_of_set.values())
