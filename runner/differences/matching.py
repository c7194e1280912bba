"""The cells that two outputs have in common: the same cell, or the same measurement under another configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from goodshot.runner.results.comparison import Row, subject_of, variant_columns

MATCHED = ("dataset", "category", "shots", "arm", "support_seed", "seed")
"""The columns in which the two rows of a pair are always equal."""
SUBJECT = "measured with"
"""The column that :func:`described` adds: detector and kind of cell."""

Key = tuple[Any, ...]
Pair = tuple[Row, Row]


@dataclass(frozen=True)
class Matching:
    """The rows of two outputs, matched.

    pairs: (row of the first, row of the second).
    only_first, only_second: rows without a counterpart.
    ambiguous: rows that have several possible counterparts, because the outputs vary something that no column names.
    """

    pairs: Sequence[Pair]
    only_first: Sequence[Row]
    only_second: Sequence[Row]
    ambiguous: Sequence[Row]


def match(first: Mapping[str, Row], second: Mapping[str, Row]) -> Matching:
    """Match the rows of two outputs, each by fingerprint.

    Rows with one fingerprint are the same cell. The others are matched by ``MATCHED`` and by those columns of a variant
    (detector, image size, λ, copies, L, …) of which one of the outputs has several values for the arm. A column with
    one value in each output is a difference of configuration, and what it does to the results is what is asked for.
    """
    same = [(row, second[fingerprint]) for fingerprint, row in first.items() if fingerprint in second]
    columns = _distinguishing(first.values(), second.values())
    by_key = [_grouped(rows, columns) for rows in (_without(first, second), _without(second, first))]
    pairs, only_first, only_second, ambiguous = list(same), [], [], []
    for key in dict.fromkeys([*by_key[0], *by_key[1]]):
        a, b = (rows.get(key, []) for rows in by_key)
        if len(a) == len(b) == 1:
            pairs.append((a[0], b[0]))
        elif a and b:
            ambiguous += [*a, *b]
        else:
            only_first += a
            only_second += b
    return Matching(pairs, only_first, only_second, ambiguous)


def described(row: Row) -> dict[str, Any]:
    """The columns that describe the variant of a row and what it was measured with."""
    names = ("image_size", "oracle", *(name for name in variant_columns() if name != "arm"))
    return {SUBJECT: subject_of(row), **{name: row[name] for name in names}}


def _distinguishing(first: Iterable[Row], second: Iterable[Row]) -> dict[str, tuple[str, ...]]:
    """Return for each arm the described columns of which one of the outputs has several values."""
    values: dict[str, dict[str, list[set[Any]]]] = {}
    for index, rows in enumerate((first, second)):
        for row in rows:
            of_arm = values.setdefault(row["arm"], {})
            for name, value in described(row).items():
                of_arm.setdefault(name, [set(), set()])[index].add(value)
    return {
        arm: tuple(name for name, sets in of_arm.items() if max(map(len, sets)) > 1) for arm, of_arm in values.items()
    }


def _grouped(rows: Iterable[Row], columns: Mapping[str, Sequence[str]]) -> dict[Key, list[Row]]:
    groups: dict[Key, list[Row]] = {}
    for row in rows:
        own = described(row)
        key = (*(row[name] for name in MATCHED), *(own[name] for name in columns[row["arm"]]))
        groups.setdefault(key, []).append(row)
    return groups


def _without(rows: Mapping[str, Row], others: Mapping[str, Row]) -> list[Row]:
    return [row for fingerprint, row in rows.items() if fingerprint not in others]
