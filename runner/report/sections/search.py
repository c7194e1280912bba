"""The search for a point: the study's trials in a sentence, in charts and in a table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from goodshot.runner.report import search_charts
from goodshot.runner.report.context import StudyContext
from goodshot.runner.report.points import SYMBOLS, Tried, point_text, value_text
from goodshot.runner.report.sections.base import Section
from goodshot.runner.report.templates import render
from goodshot.runner.results.trials import State, TrialRecord
from goodshot.runner.study.search import points_of

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


@dataclass(frozen=True)
class TrialLine:
    """A trial's line in the table.

    number: the trial's place in the order of their start, from 1.
    values: the values of the fields in which the trials differ.
    reached: the largest L with a value.
    state: how the trial ended, with its error if it has one.
    """

    number: int
    values: tuple[str, ...]
    reached: str
    objective: str
    state: str
    is_chosen: bool


@dataclass(frozen=True)
class Searched:
    """The content of the section.

    columns, lines: the table of the best trials. left_out: the number of further trials.
    artifact_record_incomplete: whether the study's record lacks cells of the chosen point, as its run has not ended.
    partly: whether some trials with a value are not complete.
    file: the file of the study at the chosen point, below ``--out``; empty if there is none.
    """

    tried: Tried
    sentence: str
    columns: tuple[str, ...]
    lines: tuple[TrialLine, ...]
    left_out: int
    artifact_record_incomplete: bool
    partly: bool
    file: str


class Search(Section[Searched]):
    """How the points were chosen, and how their trials ended."""

    def gather(self, study: StudyContext) -> Searched | None:
        """Return the trials; None for a study with one point, and in an ``--out`` from before trials were recorded."""
        if not study.trials:
            return None
        tried = Tried(study.study, study.trials, study.chosen)
        lines = _lines(tried)
        recorded = {cell.fingerprint for cell in study.record.cells}
        file = f"chosen/{study.study.name}.yaml"
        return Searched(
            tried=tried,
            sentence=_sentence(study, tried),
            columns=tuple(SYMBOLS.get(field, field) for field in tried.varied),
            lines=lines[:SHOWN_TRIALS],
            left_out=len(lines[SHOWN_TRIALS:]),
            artifact_record_incomplete=not recorded.issuperset(study.chosen_cells),
            partly=any(trial.best and trial.state != "complete" for trial in study.trials),
            file=file if file in study.output.results.files.names("chosen", ".yaml") else "",
        )

    def html(self, study: StudyContext, shown: Searched) -> str:
        """Render the section; its charts need a trial with a value."""
        tried, charts = shown.tried, {"by_field": "", "by_order": "", "by_length": ""}
        if any(trial.best for trial in tried.trials):
            charts["by_order"] = search_charts.by_order(tried)
            charts["by_field"] = search_charts.by_field(tried) if tried.drawn else ""
            charts["by_length"] = search_charts.by_length(tried) if study.study.search.scheduler == "asha" else ""
        return render("sections/search.html.j2", study=study, shown=shown, objective=study.study.objective, **charts)


def _sentence(study: StudyContext, tried: Tried) -> str:
    """Describe how the points were chosen, how the trials ended, the best point, and the training steps."""
    search, states = study.study.search, Counter(trial.state for trial in tried.trials)
    counts = [f"{states[s]} {text}" for s, text in STATES.items() if states[s] or s in ("complete", "failed")]
    planned = search.trials if search.algorithm == "optuna" else len(points_of(study.study))
    of = f" of {planned}" if len(tried.trials) < planned else ""
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
    for cell in (c for c in study.record.cells if c.generator):
        key, row = str(cell.generator), study.output.rows.get(cell.fingerprint)
        reached[key] = max(reached.get(key, 0), int(row["iterations"]) - 1 if row else 0)
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
    steps = {str(cell.image_set): (last if asha else int(study.row(cell)["iterations"])) - 1 for cell in generated}
    return sum(steps.values())


def _lines(tried: Tried) -> tuple[TrialLine, ...]:
    """Return a line for each trial, the best first; trials without a value come last, in the order of their start."""
    numbered = list(enumerate(tried.trials, start=1))
    ordered = sorted(numbered, key=lambda pair: pair[1].best.value if pair[1].best else -math.inf, reverse=True)
    fields = tried.varied
    return tuple(_line(tried, number, trial, fields) for number, trial in ordered)


def _line(tried: Tried, number: int, trial: TrialRecord, fields: Sequence[str]) -> TrialLine:
    lengths = [report.iterations for report in trial.reports if math.isfinite(report.value)]
    best = trial.best
    objective = f"{best.value:.4f}" if best else "–"
    if best and best.iterations != lengths[-1]:  # later reports were worse
        objective += f" at L = {best.iterations}"
    state = STATES[trial.state] + (f": {trial.error.splitlines()[0]}" if trial.error else "")
    return TrialLine(
        number=number,
        values=tuple(value_text(trial.values.get(field)) for field in fields),
        reached=str(lengths[-1]) if lengths else "–",
        objective=objective,
        state=state,
        is_chosen=trial == tried.chosen,
    )
