"""The search for a point: the study's trials in a sentence, in charts and in a table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from goodshot.runner.declaration.points import symbol_of
from goodshot.runner.report import search_charts
from goodshot.runner.report.blocks import Block, Column, Table, TableCell, Text, Value, block_name
from goodshot.runner.report.context import StudyContext
from goodshot.runner.report.points import Tried, point_text, value_text
from goodshot.runner.report.sections.base import Section
from goodshot.runner.report.values import number_value
from goodshot.runner.results.trials import State, TrialRecord
from goodshot.runner.stages.training import TrainingStage, updates_to

SHOWN_TRIALS = 30
"""The table lists at most this many trials, the best ones."""
ALGORITHMS = {"grid": "A grid", "random": "A random draw", "optuna": "Optuna (TPE)"}
SCHEDULERS = {"fifo": "(no scheduler: every point goes to its end)", "asha": "with the ASHA scheduler"}
STATES: Mapping[State, str] = {
    "complete": "complete",
    "stopped": "stopped early",
    "failed": "failed",
    "running": "not ended",
}
EMPTY = Value(None, "–")


class Search(Section):
    """How the points were chosen, and how their trials ended."""

    name = "search"
    title = "Search"

    def blocks(self, study: StudyContext) -> Iterator[Block]:
        """Yield sentences, charts of the trials with a value, and the table of the best trials.

        Nothing for a study with one point, and in an ``--out`` from before trials were recorded.
        """
        if not study.trials:
            return
        tried = Tried(study.study, study.trials, study.chosen)
        yield Text(_sentence(study, tried))
        recorded = {cell.fingerprint for cell in study.record.cells}
        if not recorded.issuperset(study.chosen_cells):
            yield Text(
                "A run records the artifacts of the chosen point when it ends, and this run has not: its pictures "
                "follow when the run ends, or after the same command has continued it.",
                "note",
            )
        if any(trial.best for trial in tried.trials):
            yield from _charts(study, tried)
        yield _table(study, tried)


def _charts(study: StudyContext, tried: Tried) -> Iterator[Block]:
    has_lengths = study.study.search.scheduler == "asha"
    yield from search_charts.by_field(tried)
    yield search_charts.by_order(tried)
    if has_lengths:
        yield search_charts.by_length(tried)
    notes = ["A dot is a trial at its best L; a ring marks the chosen one, a line the best value so far."]
    if any(trial.best and trial.state != "complete" for trial in tried.trials):
        notes.append(
            "Hollow and grey: the trial stopped early, failed, or has not ended, so its value cannot be compared with "
            "that of a filled dot."
        )
    if has_lengths:
        notes.append("In the chart by L, a line is a trial; the chosen one is thick.")
    if sum(trial.best is not None for trial in tried.trials) > search_charts.DRAWN_TRIALS:
        notes.append(f"At most {search_charts.DRAWN_TRIALS} trials are drawn, the best ones among them.")
    yield Text(" ".join(notes), "note")


def _table(study: StudyContext, tried: Tried) -> Table:
    lines = _lines(tried)
    shown, left_out = lines[:SHOWN_TRIALS], len(lines[SHOWN_TRIALS:])
    file = f"chosen/{study.study.name}.yaml"
    has_file = file in study.output.results.files.names("chosen", ".yaml")
    best = f" The best {len(shown)} are shown, {left_out} more are not." if left_out else ""
    as_study = f"; the study at the chosen point is {file}" if has_file else ""
    return Table(
        name="trials",
        title=f"The trials of {study.title}",
        columns=[
            Column("number", "no."),
            Column("objective", study.study.objective),
            Column("reached", "L reached"),
            Column("state", "state"),
            *(Column(block_name(field), symbol_of(field)) for field in tried.varied),
        ],
        lines=[cells for _, cells in shown],
        marked=[i for i, (trial, _) in enumerate(shown) if trial == tried.chosen],
        notes=[f"Trials are numbered by their start.{best} All are in trials/{as_study}."],
    )


def _sentence(study: StudyContext, tried: Tried) -> str:
    """Describe how the points were chosen, how the trials ended, the best point, and the training steps."""
    search, states = study.study.search, Counter(trial.state for trial in tried.trials)
    counts = [f"{states[s]} {text}" for s, text in STATES.items() if states[s] or s in ("complete", "failed")]
    of = f" of {study.planned}" if len(tried.trials) < study.planned else ""
    fields = ", ".join(tried.drawn)
    return (
        f"{ALGORITHMS[search.algorithm]} {SCHEDULERS[search.scheduler]} tried {len(tried.trials)}{of} points"
        + f", which differ in {fields}" * bool(fields)
        + f": {', '.join(counts)}. {_choice(study)}{_training_steps(study)}"
    )


def _choice(study: StudyContext) -> str:
    best = study.chosen
    if best is None or best.best is None:
        return "No point has a value yet."
    judged, objective, rows = study.study.judged_arm.label, study.study.objective, study.output.rows
    cells = sum(rows[f]["arm"] == judged for f in study.chosen_cells if f in rows)
    return (
        f"The best by {objective} is chosen, {point_text(best.point)}: {objective} {best.best.value:.4f}, "
        f"the mean over {cells} {judged} cell{'s' * (cells != 1)}."
    )


def _training_steps(study: StudyContext) -> str:
    executed, unshared = _executed_steps(study), _unshared_steps(study)
    if not executed or not unshared:
        return ""
    to = f" to L = {max(study.study.iterations)}" if study.study.search.scheduler == "asha" else ""
    return (
        f" All trainings took {executed} generator steps, {100 * executed / unshared:.0f} % of the "
        f"{unshared} that training every point{to} on its own takes."
    )


def _executed_steps(study: StudyContext) -> int:
    """Count the executed steps of the study's trainings.

    A killed run records no steps, so each training counts at least the steps to the largest L of its rows.
    """
    reached: dict[str, int] = {}
    for cell in study.record.cells:
        key, row = cell.key_of(TrainingStage), study.output.rows.get(cell.fingerprint)
        if key is None:
            continue
        reached[key] = max(reached.get(key, 0), updates_to(row["iterations"]) if row and row["iterations"] else 0)
    return sum(max(count, study.output.steps[key]) for key, count in reached.items())


def _unshared_steps(study: StudyContext) -> int:
    """Count the steps if every image set had its own training, which with ASHA goes to the largest L.

    Only each trial's first report is counted: it covers all categories and supports, and later reports are of the same
    trainings.
    """
    first = {f for trial in study.trials for report in trial.reports[:1] for f in report.fingerprints}
    of_trials = [cell for cell in study.cells if cell.fingerprint in first and cell.image_set]
    generated = [cell for cell in of_trials if study.arm(cell).has_trace]
    asha, last = study.study.search.scheduler == "asha", max(study.study.iterations)
    steps = {str(cell.image_set): updates_to(last if asha else study.row(cell)["iterations"]) for cell in generated}
    return sum(steps.values())


def _lines(tried: Tried) -> list[tuple[TrialRecord, list[TableCell]]]:
    """Return a line for each trial, the best first; trials without a value come last, in the order of their start."""
    numbered = list(enumerate(tried.trials, start=1))
    ordered = sorted(numbered, key=lambda pair: pair[1].best.value if pair[1].best else -math.inf, reverse=True)
    return [(trial, _line(tried, number, trial)) for number, trial in ordered]


def _line(tried: Tried, number: int, trial: TrialRecord) -> list[TableCell]:
    lengths = [report.iterations for report in trial.reports if math.isfinite(report.value)]
    best, chosen = trial.best, ", chosen" if trial == tried.chosen else ""
    # Later reports were worse.
    at = f" at L = {best.iterations}" if best and best.iterations != lengths[-1] else ""
    state = STATES[trial.state] + (f": {trial.error.splitlines()[0]}" if trial.error else "")
    return [
        number_value(number, str(number)),
        Value(best.value, f"{best.value:.4f}{at}", best.fingerprints, tried.study.objective) if best else EMPTY,
        number_value(lengths[-1], str(lengths[-1])) if lengths else EMPTY,
        state + chosen,
        *(_field(trial.values.get(field)) for field in tried.varied),
    ]


def _field(value: Any) -> TableCell:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return number_value(value, value_text(value)) if is_number else value_text(value)
