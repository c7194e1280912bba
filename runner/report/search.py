"""What a study has tried: its trials read from ``--out``, told in a sentence and listed in a table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.plan.plan import point_key
from runner.report.page import Row, SearchView, Steps
from runner.results.record import StudyRecord
from runner.results.results import Results
from runner.results.trials import Ledger, State, TrialRecord, chosen
from runner.study.search import is_search, points_of, space_of
from runner.study.study import Study

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
SYMBOLS = {"vq_weight": "λ", "iterations": "L"}


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
class TrialTable:
    """The best trials of a search, and how many more there are."""

    columns: tuple[str, ...]
    objective: str
    lines: tuple[TrialLine, ...]
    left_out: int


def read_trials(results: Results, study: Study) -> list[TrialRecord]:
    """The points that a study has tried; none if it has only one."""
    return Ledger(results, study).read() if len(study.points) > 1 or is_search(study) else []


def read_search(
    results: Results, record: StudyRecord, rows: Mapping[str, Row], trials: Sequence[TrialRecord], runs: Sequence[Row]
) -> SearchView | None:
    """The search as the page shows it; None without trials."""
    if not trials:
        return None
    best = chosen(trials)
    fingerprints = best.best.fingerprints if best and best.best else ()
    noted = {cell.fingerprint for cell in record.cells}
    file = f"chosen/{record.study.name}.yaml"
    return SearchView(
        study=record.study,
        trials=tuple(trials),
        chosen=best,
        cells=sum(rows[f]["arm"] == "generated" for f in fingerprints if f in rows),
        unnoted=not noted.issuperset(fingerprints),
        steps=_steps(record, rows, trials, runs),
        file=file if file in results.files.names("chosen", ".yaml") else "",
    )


def varied(view: SearchView) -> list[str]:
    """The fields in which the trials differ, as the study declares them; L has a column of its own."""
    return [f for f in space_of(view.study) if f != "iterations" and _differs(view.trials, f)]


def drawn(view: SearchView) -> list[str]:
    """The fields to draw: L too, where it is a part of the points."""
    return [*varied(view), *["iterations"] * _differs(view.trials, "iterations")]


def sentence(view: SearchView) -> str:
    """How the points were chosen, what became of them, what is best, and what it took."""
    search, states = view.study.search, Counter(trial.state for trial in view.trials)
    told = [f"{states[s]} {text}" for s, text in STATES.items() if states[s] or s in ("complete", "failed")]
    wanted = search.trials if search.algorithm == "optuna" else len(points_of(view.study))
    of = f" of {wanted}" if len(view.trials) < wanted else ""
    fields = ", ".join(drawn(view))
    return (
        f"{ALGORITHMS[search.algorithm]} {SCHEDULERS[search.scheduler]} tried {len(view.trials)}{of} points"
        + f", which differ in {fields}" * bool(fields)
        + f": {', '.join(told)}. {_choice(view)}{_effort(view)}"
    )


def table(view: SearchView) -> TrialTable:
    """The best trials first; those without a value, by start, last."""
    numbered = list(enumerate(view.trials, start=1))
    ordered = sorted(numbered, key=lambda pair: pair[1].best.value if pair[1].best else -math.inf, reverse=True)
    fields = varied(view)
    lines = tuple(_line(view, number, trial, fields) for number, trial in ordered[:SHOWN_TRIALS])
    columns = tuple(SYMBOLS.get(field, field) for field in fields)
    return TrialTable(columns, view.study.objective, lines, len(ordered) - len(lines))


def point_text(point: Mapping[str, Any]) -> str:
    """``λ = 0.69, copies = 2, L = 16``."""
    first = [name for name in ("vq_weight", "copies", "iterations") if name in point]
    names = [*first, *(name for name in point if name not in first)]
    return ", ".join(f"{SYMBOLS.get(name, name)} = {value_text(point[name])}" for name in names)


def value_text(value: Any) -> str:
    """A field's value, short."""
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)


def _differs(trials: Sequence[TrialRecord], field: str) -> bool:
    return len({point_key({field: trial.values.get(field)}) for trial in trials}) > 1


def _line(view: SearchView, number: int, trial: TrialRecord, fields: Sequence[str]) -> TrialLine:
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
        is_chosen=trial == view.chosen,
    )


def _choice(view: SearchView) -> str:
    best = view.chosen
    if best is None or best.best is None:
        return "No point has a value yet."
    cells = f"{view.cells} generated cell{'s' * (view.cells != 1)}"
    return (
        f"The best by {view.study.objective} is chosen, {point_text(best.point)}: {view.study.objective} "
        f"{best.best.value:.4f}, the mean over {cells}."
    )


def _effort(view: SearchView) -> str:
    steps = view.steps
    if not steps.executed or not steps.unshared:
        return ""
    to = f" to L = {max(view.study.iterations)}" if view.study.search.scheduler == "asha" else ""
    return (
        f" All trainings took {steps.executed} generator steps, {100 * steps.executed / steps.unshared:.0f} % of the "
        f"{steps.unshared} that training every point{to} on its own takes."
    )


def _steps(record: StudyRecord, rows: Mapping[str, Row], trials: Sequence[TrialRecord], runs: Sequence[Row]) -> Steps:
    """Of each training what the runs wrote down, or what its rows show to have been taken: a killed run writes nothing.

    Against them, each image set trained from scratch; of ASHA's points each to the largest L.
    """
    recorded: Counter[str] = Counter()
    for run in runs:
        for flight, count in run["generator_steps"].items():
            recorded[flight.partition("?")[0]] += count
    reached: dict[str, int] = {}
    for cell in (c for c in record.cells if c.generator):
        key, row = str(cell.generator), rows.get(cell.fingerprint)
        reached[key] = max(reached.get(key, 0), int(row["iterations"]) - 1 if row else 0)
    executed = sum(max(count, recorded[key]) for key, count in reached.items())
    return Steps(executed, sum(_alone(record, rows, trials).values()))


def _alone(record: StudyRecord, rows: Mapping[str, Row], trials: Sequence[TrialRecord]) -> dict[str, int]:
    """Steps of each image set's own training. Every trial has its first report, and in it all of its image sets."""
    first = {f for trial in trials for report in trial.reports[:1] for f in report.fingerprints}
    own = [c for c in record.cells if c.arm == "generated" and c.fingerprint in rows and c.fingerprint in first]
    asha = record.study.search.scheduler == "asha"
    last = max(record.study.iterations)
    return {str(c.image_set): (last if asha else int(rows[c.fingerprint]["iterations"])) - 1 for c in own}
