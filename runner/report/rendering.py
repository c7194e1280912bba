"""Render blocks as HTML, and collect what the page has to provide for them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from markupsafe import Markup

from goodshot.runner.report.blocks import Block, Chart, Column, Gallery, Table, Text
from goodshot.runner.report.rows import RowIndex
from goodshot.runner.report.templates import render

TEMPLATES: Mapping[type[Block], str] = {
    Text: "text.html.j2",
    Table: "table.html.j2",
    Chart: "chart.html.j2",
    Gallery: "gallery.html.j2",
}
"""The template of each kind of block."""
SIDE_BY_SIDE = Markup('<div class="charts">{0}</div>')
FOLDED = Markup("<details><summary>Show {1} table{2}</summary>{0}</details>")
PLAIN = Markup("{0}")


class Renderer:
    """Turns the blocks of a page into HTML.

    rows: the rows that the rendered numbers rest on. has_charts: whether any block was a chart.
    shown_lines: lines of a table that the page shows at first; it shows the others on demand, so that it opens quickly.
    """

    shown_lines = 100

    def __init__(self) -> None:
        self.rows = RowIndex()
        self.has_charts = False

    def html(self, blocks: Iterable[Block]) -> Markup:
        """Render blocks in their order; charts in a row stand side by side, folded tables in a row unfold together."""
        return Markup("").join(self._groups(blocks))

    def _groups(self, blocks: Iterable[Block]) -> Iterator[Markup]:
        for wrapper, group in groupby(blocks, _wrapper):
            own = list(group)
            html = Markup("").join(render(TEMPLATES[type(block)], block=block, page=self) for block in own)
            yield wrapper.format(html, len(own), "" if len(own) == 1 else "s")

    def columns(self, table: Table) -> Iterator[tuple[Column, bool]]:
        """Yield each column, and whether it holds texts."""
        for i, column in enumerate(table.columns):
            first = next((line[i] for line in table.lines if line[i] is not None), "")
            yield column, isinstance(first, str)

    def specification(self, chart: Chart) -> Markup:
        """Return a chart's specification as JSON, without the configuration, which the page gives all charts."""
        self.has_charts = True
        return script_json({name: value for name, value in chart.specification.items() if name != "config"})

    def height(self, chart: Chart) -> int:
        """The height in pixels that the page reserves for a chart until it is drawn."""
        height = chart.specification.get("height")
        return int(height) + 60 if isinstance(height, int | float) else 240


def _wrapper(block: Block) -> Markup:
    """The HTML around a block; consecutive blocks with the same wrapper share it."""
    if isinstance(block, Chart):
        return SIDE_BY_SIDE
    return FOLDED if isinstance(block, Table) and block.folded else PLAIN


def script_json(value: Any) -> Markup:
    """Return a value as JSON that can stand in a script element: no text in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704 - JSON without any "<" is no markup
