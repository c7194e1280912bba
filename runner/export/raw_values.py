"""A table as CSV: numbers as they were computed, for programs."""

from __future__ import annotations

import csv
import io
import math

from goodshot.runner.report.blocks import Table, TableCell, Value


def raw_values(table: Table, label: str) -> bytes:
    """Return the table as CSV in UTF-8 with a line of column names; an undefined number is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(column.name for column in table.columns)
    writer.writerows(map(_raw, line) for line in table.lines)
    return text.getvalue().encode()


def _raw(cell: TableCell) -> str | float | None:
    if not isinstance(cell, Value):
        return cell
    return None if cell.number is None or math.isnan(cell.number) else cell.number
