"""The table of docs/reliability.md: what was done, and what was left, by the kind of fault."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tabulate import tabulate

from tests.chaos.faults import FAULTS

START, END = "<!-- chaos: start -->", "<!-- chaos: end -->"
HEADS = (
    "fault", "injected", "survived", "lost", "doubled", "different", "other", "median s to recover", "longest",
)  # fmt: skip
ROWS = ("lost", "doubled", "different")
"""The beginnings of the problems that concern rows; each other problem is counted as such."""


def read_outcomes(log: Path) -> list[dict[str, Any]]:
    """The last outcome of each seed, set of faults and number of drivers in a file of JSON lines."""
    found = {}
    for line in log.read_text().splitlines():
        outcome = json.loads(line)
        found[outcome["seed"], outcome["kinds"], outcome["drivers"]] = outcome
    return list(found.values())


def written(outcomes: Sequence[Mapping[str, Any]]) -> str:
    """The table as Markdown, with a line of totals above."""
    bad = [outcome for outcome in outcomes if outcome["problems"]]
    struck = sum(len(outcome["struck"]) for outcome in outcomes)
    commands = [len(outcome["exits"]) for outcome in outcomes]
    pairs = sum(outcome["drivers"] > 1 for outcome in outcomes)
    seconds = median(outcome["seconds"] for outcome in outcomes)
    head = (
        f"{len(outcomes)} runs, {pairs} of them of two drivers at once, with {struck} faults; {len(bad)} had a "
        f"problem. A run took {seconds:.0f} s (median) and {max(commands)} commands at most; {commands.count(1)} runs "
        "needed one."
    )
    return f"{head}\n\n{tabulate(list(_lines(outcomes)), HEADS, 'github', disable_numparse=True)}"


def _lines(outcomes: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    for fault in FAULTS:
        own = [(outcome, each) for outcome in outcomes for each in outcome["struck"] if each["fault"] == fault.name]
        if not own:
            continue
        problems = [problem.partition(":")[0] for outcome, _ in own for problem in outcome["problems"]]
        seconds = [each["recovered"] for _, each in own if each["recovered"] is not None]
        survived = sum(not outcome["problems"] for outcome, _ in own)
        counts = [problems.count(kind) for kind in ROWS]
        times = [f"{median(seconds):.0f}", f"{max(seconds):.0f}"] if seconds else ["–", "–"]
        yield [fault.title, *map(str, (len(own), survived, *counts, len(problems) - sum(counts))), *times]


def replace(document: Path, table: str) -> None:
    """Put the table between the marks of a document."""
    text = document.read_text()
    before, rest = text.split(START)
    document.write_text(f"{before}{START}\n\n{table}\n\n{END}{rest.split(END)[1]}")
