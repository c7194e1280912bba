"""The cells of a table as text, for formats that people read."""

from __future__ import annotations

from collections.abc import Iterator

from goodshot.runner.report.blocks import Table, TableCell, Value


def shown(cell: TableCell) -> str:
    """Return the text of a cell as one line; empty for an empty cell."""
    text = cell.text if isinstance(cell, Value) else cell or ""
    return " ".join(text.split())


def number_columns(table: Table) -> Iterator[bool]:
    """Yield for each column whether it contains numbers, and so is aligned to the right."""
    for i in range(len(table.columns)):
        yield any(isinstance(line[i], Value) for line in table.lines)
