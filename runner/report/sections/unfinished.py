"""The cells that are declared and not finished, each with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from goodshot.runner.report.blocks import Block, Column, Table, TableCell
from goodshot.runner.report.context import StudyContext
from goodshot.runner.report.sections.base import Section
from goodshot.runner.report.values import number_value
from goodshot.runner.results.record import CellRecord
from goodshot.runner.results.results import log_name

NOT_RUN = "not run yet; the same command continues"
UNKNOWN = "of a trial that was reported before its cells were recorded"


class Unfinished(Section):
    """A table with a line for each failed cell, and one for each category and arm with cells that did not run."""

    name = "unfinished"
    title = "Cells that are not finished"

    def blocks(self, study: StudyContext) -> Iterator[Block]:
        """Yield the table; nothing if all cells are finished."""
        finished = {row["fingerprint"] for row in study.rows}
        missing = [fingerprint for fingerprint in study.asked if fingerprint not in finished]
        if not missing:
            return
        failures = {f: study.output.failures[f] for f in missing if f in study.output.failures}
        records = {cell.fingerprint: cell for cell in study.record.cells}
        waiting = [records.get(fingerprint) for fingerprint in missing if fingerprint not in failures]
        yield Table(
            name=self.name,
            title=f"{len(missing)} of {len(study.asked)} cells are not finished",
            columns=[Column("cell", "cell"), Column("cells", "cells"), Column("reason", "reason")],
            lines=[*map(_failed, failures.values()), *_waiting(waiting)],
            notes=_notes(failures),
        )


def _failed(failure: Mapping[str, Any]) -> list[TableCell]:
    tries = failure["tries"] or 1
    error = (str(failure["error"]).splitlines() or ["without a message"])[0]
    times = f"failed {tries} times" if tries > 1 else "failed"
    return [str(failure["cell"]), number_value(1, "1"), f"{times}: {error} ({log_name(failure['fingerprint'])})"]


def _waiting(cells: Sequence[CellRecord | None]) -> Iterator[list[TableCell]]:
    groups = Counter(("", UNKNOWN) if cell is None else (f"{cell.category} {cell.arm}", NOT_RUN) for cell in cells)
    for (name, reason), count in groups.items():
        yield [name, number_value(count, str(count)), reason]


def _notes(failures: Mapping[str, Any]) -> list[str]:
    return ["Running the same command again retries failed cells."] if failures else []
