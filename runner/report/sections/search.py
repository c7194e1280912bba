"""What a study has tried: its trials told in a sentence, drawn, and listed in a table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runner.report import search_charts
from runner.report.context import StudyContext
from runner.report.points import SYMBOLS, Tried, point_text, value_text
from runner.report.sections.base import Section
from runner.report.templates import render
from runner.results.trials import State, TrialRecord
from runner.study.search import points_of

SHOWN_TRIALS = 30
"""Of the table, the best."""
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
    """A trial in the table: its number by start, the values of the fields that vary, and what became of it."""

    number: int
    values: tuple[str, ...]
    reached: str
    objective: str
    state: str
    is_chosen: bool


@dataclass(frozen=True)
class Searched:
    """The trials of a study.

    columns, lines, left_out: the table of the best ones, and how many more there are.
    unnoted: whether a run was killed before it noted which artifacts belong to the chosen point.
    partly: whether some trials did not go to their end.
    file: the study at the chosen point, below ``--out``; empty if there is none.
    """

    tried: Tried
    sentence: str
    columns: tuple[str, ...]
    lines: tuple[TrialLine, ...]
    left_out: int
    unnoted: bool
    partly: bool
    file: str


class Search(Section[Searched]):
    """How the points were chosen, and what became of them."""

    def gather(self, study: StudyContext) -> Searched | None:
        """None of a study with one point, and where an old ``--out`` has no trials."""
        if not study.trials:
            return None
        tried = Tried(study.study, study.trials, study.chosen)
        lines = _lines(tried)
        noted = {cell.fingerprint for cell in study.record.cells}
        file = f"chosen/{study.study.name}.yaml"
        return Searched(
            tried=tried,
            sentence=_sentence(study, tried),
            columns=tuple(SYMBOLS.get(field, field) for field in tried.varied),
            lines=lines[:SHOWN_TRIALS],
            left_out=len(lines[SHOWN_TRIALS:]),
            unnoted=not noted.issuperset(study.chosen_cells),
            partly=any(trial.best and trial.state != "complete" for trial in study.trials),
            file=file if file in study.output.results.files.names("chosen", ".yaml") else "",
        )

    def html(self, study: StudyContext, shown: Searched) -> str:
        """With charts, once a trial has a value."""
        tried, charts = shown.tried, {"by_field": "", "by_order": "", "by_length": ""}
        if any(trial.best for trial in tried.trials):
            charts["by_order"] = search_charts.by_order(tried)
            charts["by_field"] = search_charts.by_field(tried) if tried.drawn else ""
            charts["by_length"] = search_charts.by_length(tried) if study.study.search.scheduler == "asha" else ""
        return render("sections/search.html.j2", study=study, shown=shown, objective=study.study.objective, **charts)


def _sentence(study: StudyContext, tried: Tried) -> str:
    """How the points were chosen, what became of them, what is best, and what it took."""
    search, states = study.study.search, Counter(trial.state for trial in tried.trials)
    told = [f"{states[s]} {text}" for s, text in STATES.items() if states[s] or s in ("complete", "failed")]
    wanted = search.trials if search.algorithm == "optuna" else len(points_of(study.study))
    of = f" of {wanted}" if len(tried.trials) < wanted else ""
    fields = ", ".join(tried.drawn)
    return (
        f"{ALGORITHMS[search.algorithm]} {SCHEDULERS[search.scheduler]} tried {len(tried.trials)}{of} points"
        + f", which differ in {fields}" * bool(fields)
        + f": {', '.join(told)}. {_choice(study)}{_effort(study)}"
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


def _effort(study: StudyContext) -> str:
    executed, alone = _executed(study), _alone(study)
    if not executed or not alone:
        return ""
    to = f" to L = {max(study.study.iterations)}" if study.study.search.scheduler == "asha" else ""
    return (
        f" All trainings took {executed} generator steps, {100 * executed / alone:.0f} % of the "
        f"{alone} that training every point{to} on its own takes."
    )


def _executed(study: StudyContext) -> int:
    """Steps of each training as the runs wrote them down, or as its rows show: a killed run writes nothing."""
    reached: dict[str, int] = {}
    for cell in (c for c in study.record.cells if c.generator):
        key, row = str(cell.generator), study.output.rows.get(cell.fingerprint)
        reached[key] = max(reached.get(key, 0), int(row["iterations"]) - 1 if row else 0)
    return sum(max(count, study.output.steps[key]) for key, count in reached.items())


def _alone(study: StudyContext) -> int:
    """Steps if each image set had a training of its own, of ASHA's points each to the largest L.

    Every trial has its first report, and in it all of its image sets.
    """
    first = {f for trial in study.trials for report in trial.reports[:1] for f in report.fingerprints}
    own = [cell for cell in study.cells if cell.fingerprint in first and study.arm(cell).has_trace]
    asha, last = study.study.search.scheduler == "asha", max(study.study.iterations)
    steps = {str(cell.image_set): (last if asha else int(study.row(cell)["iterations"])) - 1 for cell in own}
    return sum(steps.values())


def _lines(tried: Tried) -> tuple[TrialLine, ...]:
    """The best trials first; those without a value, by start, last."""
    numbered = list(enumerate(tried.trials, start=1))
    ordered = sorted(numbered, key=lambda pair: pair[1].best.value if pair[1].best else -math.inf, reverse=True)
    fields = tried.varied
    return tuple(_line(tried, number, trial, fields) for number, trial in ordered)


def _line(tried: Tried, number: int, trial: TrialRecord, fields: Sequence[str]) -> TrialLine:
    finite = [report.iterations for report in trial.reports if math.isfinite(report.value)]
    best = trial.best
    value = f"{best.value:.4f}" if best else "–"
    if best and best.iterations != finite[-1]:  # later reports were worse
        value += f" at L = {best.iterations}"
    state = STATES[trial.state] + (f": {trial.error.splitlines()[0]}" if trial.error else "")
    return TrialLine(
        number=number,
        values=tuple(value_text(trial.values.get(field)) for field in fields),
        reached=str(finite[-1]) if finite else "–",
        objective=value,
        state=state,
        is_chosen=trial == tried.chosen,
    )
