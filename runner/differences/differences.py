"""All differences of two outputs, and their JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from goodshot.runner.differences.configuration import Setting, settings_that_differ
from goodshot.runner.differences.contradictions import Contradiction, contradictions
from goodshot.runner.differences.matching import MATCHED, Matching, match
from goodshot.runner.differences.measured import Line, lines
from goodshot.runner.differences.outputs import Output, read_output
from goodshot.runner.results.comparison import Row


@dataclass(frozen=True)
class Differences:
    """The differences of two outputs.

    names: the two outputs, as the user gave them.
    notes: sentences that state what could not be compared, and why.
    """

    names: tuple[str, str]
    settings: Sequence[Setting]
    matching: Matching
    results: Sequence[Line]
    contradictions: Sequence[Contradiction]
    notes: Sequence[str]

    @property
    def same(self) -> int:
        """The number of pairs whose two rows have the same fingerprint."""
        return sum(a["fingerprint"] == b["fingerprint"] for a, b in self.matching.pairs)

    @property
    def beyond(self) -> list[Line]:
        """The results whose difference has an interval that excludes zero."""
        return [line for line in self.results if line.differs]

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values; an undefined number is None."""
        found = self.matching
        return {
            "outputs": list(self.names),
            "notes": list(self.notes),
            "configuration": [asdict(setting) for setting in self.settings],
            "cells": {
                "matched": len(found.pairs),
                "same_fingerprint": self.same,
                "only_first": [_named(row) for row in found.only_first],
                "only_second": [_named(row) for row in found.only_second],
                "ambiguous": [_named(row) for row in found.ambiguous],
            },
            "results": [_line(line) for line in self.results],
            "contradictions": [_contradiction(each) for each in self.contradictions],
        }


def differences_between(first: str, second: str) -> Differences:
    """Compare two outputs, each a folder or a URI.

    Raises:
        BadInput: an output does not exist, is not an output of goodshot, or was written by a newer version.
    """
    a, b = read_output(first), read_output(second)
    found = match(a.rows, b.rows)
    return Differences(
        names=(a.name, b.name),
        settings=settings_that_differ(a, b, found.pairs),
        matching=found,
        results=lines(a, b, found),
        contradictions=contradictions(a, b),
        notes=_notes(a, b, found),
    )


def _notes(first: Output, second: Output, found: Matching) -> list[str]:
    empty = [f"{output.name} has no finished cell yet" for output in (first, second) if not output.rows]
    if empty:
        return empty
    if found.ambiguous:
        return [
            f"{len(found.ambiguous)} cells are not compared: one of the outputs has several cells of the same "
            f"{', '.join(MATCHED)} and variant; compare outputs of one study each"
        ]
    if found.pairs:
        return []
    return [f"no result can be compared: {_why_nothing_matches(first, second)}"]


def _why_nothing_matches(first: Output, second: Output) -> str:
    for column in MATCHED:
        values = [sorted({str(row[column]) for row in output.rows.values()}) for output in (first, second)]
        if not set(values[0]) & set(values[1]):
            return f"the outputs have no {column} in common ({', '.join(values[0])} | {', '.join(values[1])})"
    return f"no cell of one output has the same {', '.join(MATCHED)} and variant as a cell of the other"


def _named(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in ("fingerprint", *MATCHED)}


def _line(line: Line) -> dict[str, Any]:
    numbers = {name: _defined(value) for name, value in asdict(line.difference).items()}
    return {
        **asdict(line.variant),
        "metric": line.metric.name,
        "is_leading": line.is_leading,
        "first": _defined(line.first),
        "second": _defined(line.second),
        "difference": numbers,
        "beyond_interval": line.differs,
    }


def _contradiction(found: Contradiction) -> Mapping[str, Any]:
    numbers = {"numbers": found.numbers, "quantity": found.quantity, "largest": _defined(found.largest)}
    devices = {"devices": [found.first["device"], found.second["device"]]}
    return {**_named(found.first), **numbers, **devices}


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value
