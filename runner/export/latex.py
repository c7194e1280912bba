r"""A table as LaTeX with booktabs, with its caption, label and notes, for ``\input`` into a paper.

All characters that LaTeX interprets are escaped, and numbers are set in math mode. Letters of non-European languages
are kept, and need LuaLaTeX or XeLaTeX with a font that has these letters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from goodshot.runner.export.cells import number_columns, shown
from goodshot.runner.report.blocks import Table, TableCell, Value

LONGEST = 40
"""The maximum number of lines of a table on one page; a longer table is a ``longtable``, which breaks across pages."""

_TEXT = {
    **{character: f"\\{character}" for character in "{}$&#_%"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "`": r"\textasciigrave{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
}
_MATH = {
    **{"±": r"\pm", "−": "-", "×": r"\times", "·": r"\cdot", "≤": r"\leq", "≥": r"\geq", "≈": r"\approx", "≠": r"\neq"},
    **{"→": r"\rightarrow", "←": r"\leftarrow", "↑": r"\uparrow", "↓": r"\downarrow", "∞": r"\infty", "√": r"\surd"},
    **{"°": r"^\circ", "²": "^2", "³": "^3", "µ": r"\mu", "Δ": r"\Delta", "Σ": r"\Sigma", "Λ": r"\Lambda"},
    **{"α": r"\alpha", "β": r"\beta", "γ": r"\gamma", "δ": r"\delta", "ε": r"\epsilon", "λ": r"\lambda", "μ": r"\mu"},
    **{"π": r"\pi", "ρ": r"\rho", "σ": r"\sigma", "τ": r"\tau", "φ": r"\phi", "χ": r"\chi", "ω": r"\omega"},
}
_ESCAPES = {**_TEXT, **{character: f"${command}$" for character, command in _MATH.items()}}
_SPECIAL = re.compile("-{2,}|[" + "".join(map(re.escape, _ESCAPES)) + "]")

_ONE = r"[+−-]?\d+(?:\.\d+)?"
_NUMBER = re.compile(rf"(?<![\w.]){_ONE}(?:e[+-]?\d+)?(?: ± {_ONE})?(?: \[{_ONE}, {_ONE}\])?(?![\w.])")
"""Matches numbers such as ``0.737``, ``0.737 ± 0.005``, ``+0.012 [−0.030, +0.054]`` and ``1e-06``."""


def latex(table: Table, label: str) -> bytes:
    """Return the table as LaTeX in UTF-8; marked lines are bold.

    Args:
        label: the label to which ``\\ref{tab:<label>}`` refers.
    """
    is_long = len(table.lines) > LONGEST
    packages = r"\usepackage{booktabs,longtable}" if is_long else r"\usepackage{booktabs,graphicx}"
    caption = rf"\caption{{{escaped(table.title)}}}\label{{tab:{label}}}"
    body = _long(table, caption) if is_long else _floating(table, caption)
    return "\n".join([f"% {packages}", *body]).encode() + b"\n"


def _floating(table: Table, caption: str) -> Iterator[str]:
    yield r"\begin{table}"
    yield r"\centering"
    yield caption
    # A table that is wider than the column is scaled down to it.
    yield r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
    yield rf"\begin{{tabular}}{{{_sides(table)}}}"
    yield from (r"\toprule", _head(table), r"\midrule", *_lines(table), r"\bottomrule", r"\end{tabular}}")
    yield from _notes(table)
    yield r"\end{table}"


def _long(table: Table, caption: str) -> Iterator[str]:
    yield rf"\begin{{longtable}}{{{_sides(table)}}}"
    yield rf"{caption}\\"
    yield from (r"\toprule", _head(table), r"\midrule", r"\endhead", r"\bottomrule", r"\endfoot")
    yield from _lines(table)
    yield r"\end{longtable}"
    yield from _notes(table)


def escaped(text: str) -> str:
    """Return a text as LaTeX that shows exactly its printable characters, on one line."""
    characters = unicodedata.normalize("NFC", "".join(" " if c.isspace() else c for c in text))
    line = "".join(c for c in characters if c.isprintable())
    # Two hyphens would be set as a dash.
    return _SPECIAL.sub(lambda found: _ESCAPES.get(found[0]) or "{}".join(found[0]), line)


def _number(text: str) -> str:
    """Return the text of a :class:`Value`, with its numbers in math mode."""
    words, numbers = _NUMBER.split(text), _NUMBER.findall(text)
    pairs = zip(words, [*map(_in_math_mode, numbers), ""], strict=True)
    return "".join(escaped(word) + number for word, number in pairs)


def _in_math_mode(number: str) -> str:
    powers = re.sub(r"e([+-]?)0*(\d+)", lambda found: rf" \times 10^{{{found[1].strip('+')}{found[2]}}}", number)
    return "$" + powers.replace("−", "-").replace("±", r"\pm").replace(" [", r"\ [") + "$"


def _sides(table: Table) -> str:
    return "".join("r" if has_numbers else "l" for has_numbers in number_columns(table))


def _head(table: Table) -> str:
    return _joined([escaped(column.title) for column in table.columns])


def _lines(table: Table) -> Iterator[str]:
    for i, line in enumerate(table.lines):
        cells = map(_cell, line)
        yield _joined([rf"\textbf{{\boldmath {cell}}}" if cell and i in table.marked else cell for cell in cells])


def _cell(cell: TableCell) -> str:
    return _number(shown(cell)) if isinstance(cell, Value) else escaped(shown(cell))


def _joined(cells: list[str]) -> str:
    r"""Return a line; a first ``[`` or ``*`` is protected, as it would be an argument of ``\\`` or ``\midrule``."""
    guard = "{}" if cells and cells[0][:1] in ("[", "*") else ""
    return rf"{guard}{' & '.join(cells)} \\"


def _notes(table: Table) -> Iterator[str]:
    for note in table.notes:
        yield rf"\par\smallskip{{\footnotesize {escaped(note)}\par}}"
