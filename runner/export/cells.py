"""The cells of a table as texts, for formats that a reader sees."""

from __future__ import annotations

from collections.abc import Iterator

from goodshot.runner.report.blocks import Table, TableCell, Value


def shown(cell: TableCell) -> str:
    """What a cell shows, as one line; empty for an empty cell."""
    text = cell.text if isinstance(cell, Value) else cell or ""
    return " ".join(text.split())


def number_columns(table: Table) -> Iterator[bool]:
    """Whether each column contains numbers, and is aligned to the right."""
    for i in range(len(table.columns)):
        yield any(isinstance(line[i], Value) for line in table.lines)
