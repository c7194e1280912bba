"""A table as GitHub's Markdown: its title in bold, the table, its notes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from goodshot.runner.export.cells import number_columns, shown
from goodshot.runner.report.blocks import Table

_SPECIAL = re.compile(r"([\\`*_\[\]<>|&~#])")


def markdown(table: Table, label: str) -> bytes:
    """Return the table as Markdown in UTF-8; marked lines are bold."""
    from tabulate import tabulate

    heads = [escaped(column.title) for column in table.columns]
    sides = ["right" if has_numbers else "left" for has_numbers in number_columns(table)]
    # Without disable_numparse, tabulate would read a text such as 0.70 as a number and write 0.7.
    text = tabulate([*_lines(table)], heads, tablefmt="pipe", colalign=sides, disable_numparse=True)
    return "\n\n".join([f"**{escaped(table.title)}**", text, *map(escaped, table.notes)]).encode() + b"\n"


def escaped(text: str) -> str:
    """Return a text as one line of Markdown that shows exactly its characters."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _lines(table: Table) -> Iterator[list[str]]:
    for i, line in enumerate(table.lines):
        cells = [escaped(shown(cell)) for cell in line]
        yield [f"**{cell}**" if cell and i in table.marked else cell for cell in cells]
