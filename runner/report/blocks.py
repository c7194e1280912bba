"""The content of a report's section: texts, tables, charts and galleries, as plain data.

A section (:class:`goodshot.runner.report.sections.Section`) returns blocks and knows no output format. The page renders
them as HTML (``runner/report/page.py``); ``goodshot export`` writes the same tables as Markdown, LaTeX and CSV, and the
same charts as PDF, PNG and SVG (``runner/export/``). So a number can never differ between page and paper.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Value:
    """A number in a table.

    number: the number itself, by which the column is sorted and which CSV files contain; None if it is undefined.
    text: how it is shown, for example ``0.737 ± 0.005``.
    rows: the fingerprints of the rows of results that it was computed from.
    metric: the quantity read from these rows: a column of ``results/``, or ``subset/metric`` of ``metrics/``.
    tone: whether it is good or bad news, which the page shows by colour beside the text; empty for neither.
    """

    number: float | None
    text: str
    rows: tuple[str, ...] = ()
    metric: str = ""
    tone: Literal["", "gain", "harm"] = ""


TableCell = str | Value | None
"""A table's cell: a text, a number, or None for an empty cell."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    name: its name in CSV files, in snake case. title: its heading. explanation: what the column contains, if the
    heading does not say it.
    """

    name: str
    title: str
    explanation: str = ""


@dataclass(frozen=True)
class Table:
    """A table. ``name`` is unique within its study and becomes the name of exported files, so it is in snake case.

    lines: for each line one cell per column.
    notes: sentences below the table.
    marked: the indexes of lines that stand out, such as the chosen point's.
    folded: whether the page shows it only on demand, with other such tables, because there may be many.
    """

    name: str
    title: str
    columns: Sequence[Column]
    lines: Sequence[Sequence[TableCell]]
    notes: Sequence[str] = ()
    marked: Collection[int] = ()
    folded: bool = False


@dataclass(frozen=True)
class Chart:
    """A chart as a Vega-Lite specification with its data, made by :func:`goodshot.runner.report.charts.chart`.

    name: as in :class:`Table`.
    description: what the chart shows, for readers who cannot see it.
    notes: sentences below the chart.
    """

    name: str
    title: str
    specification: Mapping[str, Any]
    description: str
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Picture:
    """A picture of a gallery.

    uri: a data URI of the picture as it is shown enlarged; the page scales it down.
    caption: a short text below it. description: what it shows, for readers who cannot see it.
    """

    uri: str
    caption: str
    description: str


@dataclass(frozen=True)
class Strip:
    """A row of pictures that belong together, with a label in front of them and a caption below them."""

    label: str
    pictures: Sequence[Picture]
    caption: str = ""


@dataclass(frozen=True)
class Gallery:
    """Strips of pictures below one title; the page enlarges a picture by click or key."""

    name: str
    title: str
    strips: Sequence[Strip]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Text:
    """A paragraph of plain text, which the renderers escape.

    kind: ``answer`` for the sentences that answer the study's question, ``warning``, ``note`` for small print.
    """

    text: str
    kind: Literal["plain", "answer", "warning", "note"] = "plain"


Block = Text | Table | Chart | Gallery


def block_name(*parts: str) -> str:
    """Return a name in snake case for a block, from texts such as a section's name and a category.

    A text that snake case cannot hold gets a short hash, so that different texts give different names.
    """
    return "_".join(_snake_case(part) for part in parts if part)


def _snake_case(text: str) -> str:
    snake = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    if snake == text.replace(" ", "_") and len(snake) <= 40:
        return snake
    return f"{snake[:40]}_{hashlib.sha256(text.encode()).hexdigest()[:6]}"
