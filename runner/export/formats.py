"""The formats of exported files. To add one, list it in :data:`FORMATS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from goodshot.components.errors import BadInput
from goodshot.runner.export.latex import latex
from goodshot.runner.export.markdown import markdown
from goodshot.runner.export.raw_values import raw_values
from goodshot.runner.report import charts
from goodshot.runner.report.blocks import Chart, Table


@dataclass(frozen=True)
class Format:
    """One format of files.

    name: the name of the format in ``--formats``, which is also the suffix of its files.
    block: the kind of block that the format can show.
    render: returns the file's content for a block and a label, which is unique among all exported blocks.
    """

    name: str
    block: type[Table] | type[Chart]
    render: Callable[[Any, str], bytes]


def _drawn(format: charts.Format) -> Format:
    return Format(format, Chart, lambda block, label: charts.drawn_as(block.specification, format))


FORMATS: tuple[Format, ...] = (
    Format("md", Table, markdown),
    Format("tex", Table, latex),
    Format("csv", Table, raw_values),
    _drawn("pdf"),
    _drawn("png"),
    _drawn("svg"),
)


def formats_of(names: str) -> tuple[Format, ...]:
    """Return the formats of a list such as ``md,tex``, in the order of :data:`FORMATS`.

    Raises:
        BadInput: a name is unknown, or the list is empty.
    """
    wanted = {name.strip().lower() for name in names.split(",")} - {""}
    known = {format.name for format in FORMATS}
    if not wanted or wanted - known:
        unknown = ", ".join(sorted(wanted - known)) or "nothing"
        raise BadInput(f"--formats {names}: {unknown} is no format; there are: {','.join(f.name for f in FORMATS)}")
    return tuple(format for format in FORMATS if format.name in wanted)
