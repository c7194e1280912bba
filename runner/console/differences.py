"""The output of ``goodshot compare``: configuration, cells and results in which two outputs differ."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from goodshot.runner.console.terminal import difference, shortened
from goodshot.runner.differences import Differences
from goodshot.runner.differences.measured import Line
from goodshot.runner.results.comparison import Row

SHOWN = 5
"""Maximum number of cells of one kind that are named; the JSON file has all cells."""


def print_differences(console: Console, found: Differences) -> None:
    """Print all differences. Metrics are the leading ones, and others that differ beyond their interval."""
    _print_settings(console, found)
    _print_sentences(console, [*_cells(found), *found.notes])
    _print_results(console, found)
    _print_sentences(console, [*_conclusion(found), *_contradictions(found)])


def _print_sentences(console: Console, sentences: Iterable[str]) -> None:
    for sentence in sentences:
        console.print(sentence, highlight=False, soft_wrap=True)


def _print_settings(console: Console, found: Differences) -> None:
    if not found.settings:
        console.print("configuration: no difference", highlight=False)
        return
    table = _table("Configuration", ["where", "what", *found.names])
    for setting in found.settings:
        table.add_row(*map(shortened, (setting.where, setting.name, setting.first, setting.second)))
    console.print(table)


def _cells(found: Differences) -> Iterator[str]:
    matching = found.matching
    yield f"cells: {len(matching.pairs)} in both, of which {found.same} are the same by fingerprint"
    for name, rows in zip(found.names, (matching.only_first, matching.only_second), strict=True):
        if rows:
            yield f"only in {name}: {len(rows)} cells: {_listed(map(_cell, rows), len(rows))}"


def _print_results(console: Console, found: Differences) -> None:
    first, second = map(shortened, found.names)
    shown = [line for line in found.results if line.differs or (line.is_leading and line.variant.category is None)]
    described = [_described(line) for line in shown]
    needed = "arm", "metric"
    varied = [i for i, title in enumerate(DESCRIBED) if title in needed or len({line[i] for line in described}) > 1]
    table = _table(f"Results, paired: {second} − {first}", [DESCRIBED[i] for i in varied])
    for title in (first, second, "difference", "pairs"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("")
    for line, texts in zip(shown, described, strict=True):
        numbers = f"{line.first:.3f}", f"{line.second:.3f}", difference(line.difference), str(line.difference.n)
        table.add_row(*(shortened(texts[i]) for i in varied), *numbers, "beyond its interval" if line.differs else "")
    if shown:
        console.print(table)


DESCRIBED = ("arm", "measured with", "dataset", "shots", "category", "metric")


def _described(line: Line) -> tuple[str, ...]:
    variant = line.variant
    return (
        variant.label,
        variant.subject,
        variant.dataset,
        variant.shots,
        variant.category or "all",
        line.metric.title,
    )


def _conclusion(found: Differences) -> Iterator[str]:
    with_interval = [line for line in found.results if not math.isnan(line.difference.low)]
    if with_interval:
        count, beyond = len(with_interval), len(found.beyond)
        yield f"{beyond} of {count} results differ by more than their 95 % interval"
        if beyond:
            yield f"of {count} intervals about {count * 0.05:.0f} exclude zero by chance"
    elif found.results:
        yield "no result has an interval, because a pair for each of several supports or categories is missing"


def _contradictions(found: Differences) -> Iterator[str]:
    several = found.contradictions
    if not several:
        return
    worst = max(several, key=lambda each: math.inf if math.isnan(each.largest) else each.largest)
    devices = sorted({f"{each.first['device']} | {each.second['device']}" for each in several})
    yield (
        f"{len(several)} of {found.same} cells with one fingerprint have different numbers, which must be equal: "
        f"by up to {worst.largest:.3g} ({worst.quantity} of {_cell(worst.first)}); computed on {', '.join(devices)}: "
        f"{_listed((_cell(each.first) for each in several), len(several))}"
    )


def _cell(row: Row) -> str:
    support = "" if row["support_seed"] is None else f" support {row['support_seed']}"
    return f"{row['category']} {row['arm']}{support} ({row['fingerprint'][:12]})"


def _listed(texts: Iterable[str], count: int) -> str:
    first = [text for text, _ in zip(texts, range(SHOWN), strict=False)]
    return ", ".join(first) + (f" and {count - SHOWN} more" if count > SHOWN else "")


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column)
    return table
