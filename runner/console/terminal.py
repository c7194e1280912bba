"""What a run prints at its end: the table and the account of shared work."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table

from components.metrics.declared import Metric
from components.metrics.summary import CLAIM_SEEDS, TOLERANCE, MeanStd, PairedDifference
from runner.plan.plan import point_key
from runner.results.comparison import Comparison, baseline_labels, compare, results_metrics
from runner.results.results import log_name
from runner.results.sharing import Sharing
from runner.results.trials import TrialRecord, chosen
from runner.study.search import is_search
from runner.study.study import Study

SHOWN_FAILURES, ERROR_WIDTH = 5, 160
SHOWN_TRIALS = 10
"""Of a search, the best; all are in ``OUT/trials``."""


def print_study(console: Console, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """The study's table: a line per category, detector and variant."""
    comparisons = compare(rows)
    if not comparisons:
        return
    columns = [c for c in _columns(comparisons) if any(c.text(row) for row in comparisons)]
    table = _table(title, columns, comparisons)
    for title_dropped in _dropped_first(comparisons):
        # Measured as if there were room for everything: the console's own width would cap the answer.
        if console.measure(table, options=console.options.update(max_width=1000)).maximum <= console.width:
            break
        columns = [c for c in columns if c.title != title_dropped]
        table = _table(title, columns, comparisons)
    console.print(table)
    shown = any(column.title == "verdict" for column in columns)
    for note in (seeds_note(comparisons), verdicts_note() if shown else "", tags_note(comparisons)):
        if note:
            console.print(note, style="dim", highlight=False, soft_wrap=True)


def _table(title: str, columns: Sequence[Column], comparisons: Sequence[Comparison]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column.title, justify=column.justify, no_wrap=True)
    last = None
    for comparison in comparisons:
        category = comparison.category
        if last not in (None, category):
            table.add_section()
        cells = [column.text(comparison) for column in columns]
        table.add_row(category if category != last else "", *cells[1:])
        last = category
    return table


@dataclass(frozen=True)
class Column:
    """A column of the table: shown only if some row has a text for it."""

    title: str
    text: Callable[[Comparison], str]
    justify: Literal["left", "right"] = "right"


def _columns(comparisons: Sequence[Comparison]) -> Iterator[Column]:
    """All that the table may have."""
    tested, fair = results_metrics(comparisons)
    yield Column("category", lambda c: c.category, "left")
    yield Column("arm", lambda c: c.label, "left")
    if len({c.subject for c in comparisons}) > 1:
        yield Column("detector", lambda c: c.subject, "left")
    yield Column("λ", lambda c: _or_blank(c.variant["vq_weight"]))
    yield Column("L", lambda c: _or_blank(c.variant["iterations"]))
    yield from (Column(metric.title, partial(_mean, metric)) for metric in tested)
    for label in baseline_labels(comparisons):
        yield Column(f"− {label}", partial(_against, difference, label))
        yield Column("won:lost", partial(_against, record, label))
        yield Column("verdict", partial(_against, verdict, label), "left")
    yield from (Column(metric.title, partial(_mean, metric)) for metric in fair)


def _mean(metric: Metric, comparison: Comparison) -> str:
    return mean_std_text(comparison.mean(metric))


def _against(text: Callable[[PairedDifference | None], str], label: str, comparison: Comparison) -> str:
    return text(comparison.against.get(label))


def _dropped_first(comparisons: Sequence[Comparison]) -> list[str]:
    """What a narrow terminal does without, metrics from the last one on; the report has it all."""
    tested, fair = results_metrics(comparisons)
    return [*(metric.title for metric in reversed([*tested[1:], *fair])), "won:lost", "L", "λ", "verdict"]


def print_failures(console: Console, failures: Sequence[Mapping[str, Any]]) -> None:
    """What failed, and where its traceback is: one line a cell, of many the first."""
    for row in failures[:SHOWN_FAILURES]:
        error = row["error"] if len(row["error"]) <= ERROR_WIDTH else f"{row['error'][:ERROR_WIDTH]}…"
        console.print(
            f"failed: {row['cell']}: {error} ({log_name(row['fingerprint'])})", highlight=False, soft_wrap=True
        )
    if (more := len(failures) - SHOWN_FAILURES) > 0:
        console.print(f"and {more} more", highlight=False)


def print_search(console: Console, study: Study, records: Sequence[TrialRecord], file: str) -> None:
    """The best points of a study by its objective, and the chosen one; nothing before a point has a value."""
    best = chosen(records)
    if best is None or best.best is None:
        return
    tried = sorted(records, key=lambda r: r.best.value if r.best else -math.inf, reverse=True)
    varied = [f for f in best.point if len({point_key({f: r.point.get(f)}) for r in records}) > 1]
    if is_search(study):
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="The best points", title_justify="left")
        for title in (*varied, study.objective, "state"):
            table.add_column(title, justify="left" if title == "state" else "right", no_wrap=True)
        for record in tried[:SHOWN_TRIALS]:
            value = f"{record.best.value:.4f}" if record.best else "–"
            table.add_row(*(_value(record.point.get(field)) for field in varied), value, record.state)
        console.print(table)
    cells = f"{len(best.best.fingerprints)} cell{'s' * (len(best.best.fingerprints) != 1)}"
    console.print(
        f"chosen by {study.objective} among {len(records)} points: {best.label} "
        f"({study.objective} {best.best.value:.4f} over {cells}); as a study of its own: {file}",
        highlight=False,
        soft_wrap=True,
    )


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)


def print_sharing(console: Console, counted: Sharing) -> None:
    """How many generator steps the sweep took, against one training per point."""
    ratio = f" ({counted.unshared / counted.all_runs:.1f} times as many)" if counted.all_runs else ""
    console.print(
        f"generator steps: {counted.this_run} in this run, {counted.all_runs} in all; "
        f"a sweep that trains every point on its own takes {counted.unshared}{ratio}",
        highlight=False,
    )


def mean_std_text(value: MeanStd | None) -> str:
    """``0.737 ± 0.005``; a dash where undefined, and nothing where not measured."""
    if value is None:
        return ""
    if math.isnan(value.mean):
        return "–"
    return f"{value.mean:.3f}" if math.isnan(value.std) else f"{value.mean:.3f} ± {value.std:.3f}"


def difference(value: PairedDifference | None) -> str:
    """``+0.012 [−0.030, +0.054]``: the mean paired difference and its 95 % interval."""
    if value is None or math.isnan(value.mean):
        return ""
    if math.isnan(value.low):
        return _signed(value.mean)
    return f"{_signed(value.mean)} [{_signed(value.low)}, {_signed(value.high)}]"


def record(value: PairedDifference | None) -> str:
    """``9:4``: in how many of the pairs the variant was better and worse; blank for less than two pairs."""
    return "" if value is None or value.n < 2 else f"{value.wins}:{value.losses}"


def verdict(value: PairedDifference | None) -> str:
    """``gain``, ``no harm``, ``harm`` or ``open``; with too few pairs how many there are: ``open (n=3)``."""
    if value is None or value.n < 2:
        return ""
    return value.verdict if value.n >= CLAIM_SEEDS else f"open (n={value.n})"


def verdicts_note() -> str:
    """What the verdicts mean."""
    return (
        f"verdict, from {CLAIM_SEEDS} supports on: gain, the interval lies above 0; no harm, above −{TOLERANCE:g}; "
        f"harm, below 0 and down to −{TOLERANCE:g} or further; open, none of these"
    )


def tags_note(comparisons: Sequence[Comparison]) -> str:
    """What the tags behind a category mean; blank where there are none."""
    meanings = {
        "dev": "dev: a development category, on which defaults were chosen",
        "oracle": "oracle: test labels took part in a choice, no fair result",
    }
    return "; ".join(text for tag, text in meanings.items() if any(c.table[tag] for c in comparisons))


def seeds_note(comparisons: Sequence[Comparison]) -> str:
    """What the number of supports allows one to say."""
    seeds = max(len(c.rows) for c in comparisons)
    note = f"mean ± std over {seeds} support{'s' * (seeds != 1)}"
    titles = dict.fromkeys(c.compared.title for c in comparisons if c.compared)
    if seeds > 1 and titles:
        note += f"; “−”: paired difference of {' or '.join(titles)} with its 95 % interval"
    return note if seeds >= CLAIM_SEEDS else f"{note}; fewer than {CLAIM_SEEDS} supports: a report, not a claim"


def _signed(value: float) -> str:
    # "z" turns a rounded −0 into 0.
    return f"{value:+z.3f}".replace("-", "−")


def _or_blank(value: Any) -> str:
    return "" if value is None else f"{value:g}"
