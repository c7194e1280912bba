"""The rows of results behind a page's numbers, as compact data that the page embeds once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from goodshot.runner.declaration.points import COPIES, OF_A_TRAINING
from goodshot.runner.report.context import Output, support_label
from goodshot.runner.results.comparison import Row, variant_label

SHOWN_DIGITS = 12
"""The digits of a fingerprint that the page shows."""


class RowIndex:
    """The rows that numbers of the page rest on, in the order of their first use.

    A number refers to a set of rows and to a metric, by their indexes; equal sets are stored once.
    """

    def __init__(self) -> None:
        self._outputs: list[Output] = []
        self._current = 0
        self._rows: dict[tuple[int, str], int] = {}
        self._sets: dict[tuple[int, ...], int] = {}
        self._metrics: dict[str, int] = {}

    def of(self, output: Output) -> None:
        """Refer to the rows of this output from now on."""
        if output not in self._outputs:
            self._outputs.append(output)
        self._current = self._outputs.index(output)

    def set(self, fingerprints: Sequence[str]) -> int:
        """Return the index of a set of rows."""
        rows = tuple(self._rows.setdefault((self._current, f), len(self._rows)) for f in dict.fromkeys(fingerprints))
        return self._sets.setdefault(tuple(sorted(rows)), len(self._sets))

    def metric(self, name: str) -> int:
        """Return the index of a metric, a column of ``results/`` or ``subset/metric`` of ``metrics/``."""
        return self._metrics.setdefault(name, len(self._metrics))

    def as_json(self) -> dict[str, Any]:
        """Return plain data: tables by column, texts as indexes into lists, and sets as ranges ``0-3,7``."""
        texts: dict[str, int] = {}
        columns: dict[str, list[Any]] = {name: [] for name in ("category", "arm", "support", "seed")}
        for output, fingerprint in self._rows:
            row = self._outputs[output].rows.get(fingerprint, {})
            columns["seed"].append(row.get("seed"))
            for name, text in _texts(row):
                columns[name].append(texts.setdefault(text, len(texts)))
        outputs = [output for output, _ in self._rows]
        return {
            "outputs": [output.shown for output in self._outputs],
            "output": outputs if len(self._outputs) > 1 else [],
            "texts": list(texts),
            "fingerprints": "".join(fingerprint[:SHOWN_DIGITS].ljust(SHOWN_DIGITS) for _, fingerprint in self._rows),
            **columns,
            "metrics": list(self._metrics),
            "values": [self._values(name) for name in self._metrics],
            "sets": [_ranges(rows) for rows in self._sets],
        }

    def _values(self, metric: str) -> list[float | None] | dict[int, float]:
        """Return a metric's value of each row; for few rows, as index → value."""
        found = {i: v for i, v in enumerate(self._value(*key, metric) for key in self._rows) if v is not None}
        return found if 2 * len(found) < len(self._rows) else [found.get(i) for i in range(len(self._rows))]

    def _value(self, output: int, fingerprint: str, metric: str) -> float | None:
        subset, is_long, name = metric.rpartition("/")
        if is_long:
            value = self._outputs[output].metrics.get(fingerprint, {}).get((subset, name))
        else:
            value = self._outputs[output].rows.get(fingerprint, {}).get(metric)
        is_number = isinstance(value, int | float) and math.isfinite(value)
        return float(f"{value:.4g}") if is_number else None


def _texts(row: Row | Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "category", str(row.get("category", ""))
    yield "arm", _trained_on(row) if row else ""
    yield "support", support_label(row) if row else ""


def _trained_on(row: Row) -> str:
    """The variant with its point: ``generated, 2 copies, λ = 1, L = 4``."""
    point = {field.symbol: row.get(field.name) for field in (COPIES, *OF_A_TRAINING)}
    return ", ".join([variant_label(row), *(f"{name} = {value:g}" for name, value in point.items() if value)])


def _ranges(rows: Sequence[int]) -> str:
    """``0-3,7`` for 0, 1, 2, 3, 7."""
    runs: list[list[int]] = []
    for row in rows:
        if runs and row == runs[-1][1] + 1:
            runs[-1][1] = row
        else:
            runs.append([row, row])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
