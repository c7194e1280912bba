"""The output at the end of a run: tables of results, failures, the chosen point, and the training steps saved."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table

from goodshot.components.metrics.declared import Metric
from goodshot.components.metrics.summary import CLAIM_SEEDS, TOLERANCE, MeanStd, PairedDifference
from goodshot.runner.declaration.points import OF_A_TRAINING, PointField
from goodshot.runner.plan.plan import point_key
from goodshot.runner.results.comparison import Comparison, baseline_labels, by_kind, compare, results_metrics
from goodshot.runner.results.results import log_name
from goodshot.runner.results.sharing import Sharing
from goodshot.runner.results.trials import TrialRecord, chosen
from goodshot.runner.study.search import is_search
from goodshot.runner.study.study import Study

SHOWN_FAILURES, ERROR_WIDTH = 5, 160
SHOWN_TRIALS = 10
"""The table of a search lists at most this many points, the best ones; all of them are in ``OUT/trials``."""


def print_study(console: Console, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a table for each kind of cell of a study, with a line for each category, detector and variant."""
    kinds = by_kind(compare(rows))
    for kind, comparisons in kinds.items():
        _print_table(console, title if len(kinds) == 1 else f"{title}: {kind}", comparisons)


def _print_table(console: Console, title: str, comparisons: Sequence[Comparison]) -> None:
    """Print a table and its notes; a narrow terminal drops columns."""
    columns = [c for c in _columns(comparisons) if any(c.text(row) for row in comparisons)]
    table = _table(title, columns, comparisons)
    for dropped in _dropped_first(comparisons):
        # Measured for a very wide console, because a measurement never exceeds the width that it is made for.
        if console.measure(table, options=console.options.update(max_width=1000)).maximum <= console.width:
            break
        columns = [c for c in columns if c.title != dropped]
        table = _table(title, columns, comparisons)
    console.print(table)
    has_verdicts = any(column.title == "verdict" for column in columns)
    for note in (seeds_note(comparisons), verdicts_note() if has_verdicts else "", tags_note(comparisons)):
        if note:
            console.print(note, style="dim", highlight=False, soft_wrap=True)


def _table(title: str, columns: Sequence[Column], comparisons: Sequence[Comparison]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column.title, justify=column.justify, no_wrap=True)
    previous = None
    for comparison in comparisons:
        category = shortened(comparison.category)
        if previous not in (None, category):
            table.add_section()
        cells = [column.text(comparison) for column in columns]
        table.add_row(category if category != previous else "", *cells[1:])
        previous = category
    return table


@dataclass(frozen=True)
class Column:
    """A column of the table, which is shown only if some line has a text in it."""

    title: str
    text: Callable[[Comparison], str]
    justify: Literal["left", "right"] = "right"


def _columns(comparisons: Sequence[Comparison]) -> Iterator[Column]:
    """Yield all columns that the table may have."""
    tested, fair = results_metrics(comparisons)
    yield Column("category", lambda c: c.category, "left")
    yield Column("arm", lambda c: c.label, "left")
    if len({c.subject for c in comparisons}) > 1:
        yield Column("detector", lambda c: c.subject, "left")
    yield from (Column(field.symbol, partial(_of_point, field)) for field in OF_A_TRAINING)
    yield from (Column(metric.title, partial(_mean, metric)) for metric in tested)
    for label in baseline_labels(comparisons):
        yield Column(f"− {label}", partial(_compared_with, difference, label))
        yield Column("won:lost", partial(_compared_with, record, label))
        yield Column("verdict", partial(_verdict, label), "left")
    yield from (Column(metric.title, partial(_mean, metric)) for metric in fair)


def _mean(metric: Metric, comparison: Comparison) -> str:
    return mean_std_text(comparison.mean(metric))


def _compared_with(text: Callable[[PairedDifference | None], str], label: str, comparison: Comparison) -> str:
    """Return the text of a variant's difference to the baseline with that label."""
    return text(comparison.against.get(label))


def _verdict(label: str, comparison: Comparison) -> str:
    return verdict(comparison.judged(label))


def _dropped_first(comparisons: Sequence[Comparison]) -> list[str]:
    """Return the titles of columns in the order in which a narrow terminal drops them; the report has all columns."""
    tested, fair = results_metrics(comparisons)
    return [
        *(metric.title for metric in reversed([*tested[1:], *fair])),
        "won:lost",
        *(field.symbol for field in reversed(OF_A_TRAINING)),
        "verdict",
    ]


def print_failures(console: Console, failures: Sequence[Mapping[str, Any]]) -> None:
    """Print the error of each failed cell and the file of its traceback, for the first ``SHOWN_FAILURES`` cells."""
    for row in failures[:SHOWN_FAILURES]:
        error = row["error"] if len(row["error"]) <= ERROR_WIDTH else f"{row['error'][:ERROR_WIDTH]}…"
        console.print(
            f"failed: {row['cell']}: {error} ({log_name(row['fingerprint'])})", highlight=False, soft_wrap=True
        )
    if (more := len(failures) - SHOWN_FAILURES) > 0:
        console.print(f"and {more} more", highlight=False)


def print_search(console: Console, study: Study, records: Sequence[TrialRecord], file: str) -> None:
    """Print the chosen point, and the best points of a search; nothing if no point has a value.

    Args:
        file: where the study at the chosen point is stored.
    """
    best = chosen(records)
    if best is None or best.best is None:
        return
    ordered = sorted(records, key=lambda r: r.best.value if r.best else -math.inf, reverse=True)
    varied = [f for f in best.point if len({point_key({f: r.point.get(f)}) for r in records}) > 1]
    if is_search(study):
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="The best points", title_justify="left")
        for title in (*varied, study.objective, "state"):
            table.add_column(title, justify="left" if title == "state" else "right", no_wrap=True)
        for trial in ordered[:SHOWN_TRIALS]:
            objective = f"{trial.best.value:.4f}" if trial.best else "–"
            table.add_row(*(_value_text(trial.point.get(field)) for field in varied), objective, trial.state)
        console.print(table)
    cells = f"{len(best.best.fingerprints)} cell{'s' * (len(best.best.fingerprints) != 1)}"
    console.print(
        f"chosen by {study.objective} among {len(records)} points: {best.label} "
        f"({study.objective} {best.best.value:.4f} over {cells}); as a study of its own: {file}",
        highlight=False,
        soft_wrap=True,
    )


def _value_text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)


def print_restarts(console: Console, retries: Mapping[str, int], restarts: int) -> None:
    """Print what was run again after something was lost.

    Args:
        retries: the number of stages and cells by the reason.
        restarts: how often the broker was started again.
    """
    for reason, count in retries.items():
        noun = "stage was" if count == 1 else "stages were"
        console.print(f"{count} {noun} run again after {reason}", highlight=False)
    if restarts:
        console.print("the run's broker was lost and started again" + f", {restarts} times" * (restarts > 1))


def print_sharing(console: Console, counted: Sharing) -> None:
    """Print how many generator steps the sweep executed, compared with a training for each of its points."""
    ratio = f" ({counted.unshared / counted.executed:.1f} times as many)" if counted.executed else ""
    elsewhere = counted.executed - counted.all_runs
    console.print(
        f"generator steps: {counted.this_run} in this run, {counted.executed} in all"
        + f" ({elsewhere} of them for another output, in the same store)" * bool(elsewhere)
        + "; "
        f"a sweep that trains every point on its own takes {counted.unshared}{ratio}",
        highlight=False,
    )


def shortened(text: str, length: int = 44) -> str:
    """One line of at most ``length`` characters: the middle is cut out, because long names differ at their ends."""
    line = "".join(character if character.isprintable() else "?" for character in text)
    half = (length - 1) // 2
    return line if len(line) <= length else f"{line[:half].rstrip()}…{line[-half:].lstrip()}"


def mean_std_text(value: MeanStd | None) -> str:
    """``0.737 ± 0.005``; a dash for an undefined mean, an empty text for None (not measured)."""
    if value is None:
        return ""
    if math.isnan(value.mean):
        return "–"
    return f"{value.mean:.3f}" if math.isnan(value.std) else f"{value.mean:.3f} ± {value.std:.3f}"


def difference(value: PairedDifference | None) -> str:
    """``+0.012 [−0.030, +0.054]``: the mean paired difference and its 95 % interval; a dash if it is undefined."""
    if value is None:
        return ""
    if math.isnan(value.mean):
        return "–"
    if math.isnan(value.low):
        return _signed(value.mean)
    return f"{_signed(value.mean)} [{_signed(value.low)}, {_signed(value.high)}]"


def record(value: PairedDifference | None) -> str:
    """``9:4``: in how many pairs the variant was better, and in how many worse; empty without an interval."""
    return "" if value is None or math.isnan(value.low) else f"{value.wins}:{value.losses}"


def verdict(value: PairedDifference | None) -> str:
    """``gain``, ``no harm``, ``harm`` or ``open``; with too few pairs also their number: ``open (n=3)``."""
    if value is None or math.isnan(value.low):
        return ""
    return value.verdict if value.n >= CLAIM_SEEDS else f"open (n={value.n})"


def verdicts_note() -> str:
    """Explain the verdicts."""
    return (
        f"verdict, from {CLAIM_SEEDS} supports on: gain, the interval lies above 0; no harm, above −{TOLERANCE:g}; "
        f"harm, below 0 and down to −{TOLERANCE:g} or further; open, none of these"
    )


def tags_note(comparisons: Sequence[Comparison]) -> str:
    """Explain the tags after the categories' names; empty if there are none."""
    meanings = {
        "dev": "dev: a development category, on which defaults were chosen",
        "oracle": "oracle: test labels took part in a choice, no fair result",
    }
    return "; ".join(text for tag, text in meanings.items() if any(c.table[tag] for c in comparisons))


def seeds_note(comparisons: Sequence[Comparison]) -> str:
    """State the number of supports, explain the column of differences, and warn about too few supports."""
    seeds = max(len(c.rows) for c in comparisons)
    note = f"mean ± std over {seeds} support{'s' * (seeds != 1)}"
    titles = dict.fromkeys(c.compared.title for c in comparisons if c.compared)
    if seeds > 1 and titles:
        note += f"; “−”: paired difference of {' or '.join(titles)} with its 95 % interval"
    return note if seeds >= CLAIM_SEEDS else f"{note}; fewer than {CLAIM_SEEDS} supports: a report, not a claim"


def _signed(value: float) -> str:
    # "z" formats a value that rounds to −0 as 0.
    return f"{value:+z.3f}".replace("-", "−")


def _of_point(field: PointField, comparison: Comparison) -> str:
    value = comparison.variant[field.name]
    return "" if value is None else f"{value:g}"
