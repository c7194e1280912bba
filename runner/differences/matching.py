"""Match the cells of two outputs: equal cells, or cells with the same measurement and another configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from goodshot.runner.results.comparison import Row, subject_of, variant_columns

MATCHED = ("dataset", "category", "shots", "arm", "support_seed", "seed")
"""The columns in which the two rows of a pair are always equal."""
SUBJECT = "measured with"
"""The key of a description under which the detector and the kind of cell are given."""

Key = tuple[Any, ...]
Pair = tuple[Row, Row]
Descriptions = Mapping[str, Mapping[str, Any]]
"""Fingerprint → the columns that describe the variant of a row and what it was measured with."""


@dataclass(frozen=True)
class Matching:
    """The matched rows of two outputs.

    pairs: (row of the first output, row of the second output).
    only_first, only_second: rows without a counterpart.
    ambiguous: rows that have several possible counterparts, because the outputs vary something that no column names.
    described: the description of each row of the first and of the second output, by fingerprint.
    """

    pairs: Sequence[Pair]
    only_first: Sequence[Row]
    only_second: Sequence[Row]
    ambiguous: Sequence[Row]
    described: tuple[Descriptions, Descriptions]


def match(first: Mapping[str, Row], second: Mapping[str, Row]) -> Matching:
    """Match the rows of two outputs, each given as a mapping from fingerprint to row.

    Rows with the same fingerprint are the same cell. Other rows are matched by ``MATCHED``, and by the columns of a
    variant (detector, image size, λ, copies, L, …) that have several values for the arm in one of the outputs. A column
    with one value in each output is not matched: it is a difference in configuration, whose effect is to be measured.
    """
    same = [(row, second[fingerprint]) for fingerprint, row in first.items() if fingerprint in second]
    described = _described(first), _described(second)
    columns = _distinguishing(zip((first, second), described, strict=True))
    by_key = [
        _grouped(_without(rows, others), own, columns)
        for rows, others, own in ((first, second, described[0]), (second, first, described[1]))
    ]
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
    return Matching(pairs, only_first, only_second, ambiguous, described)


def _described(rows: Mapping[str, Row]) -> Descriptions:
    names = ("image_size", "oracle", *(name for name in variant_columns() if name != "arm"))
    return {
        fingerprint: {SUBJECT: subject_of(row), **{name: row[name] for name in names}}
        for fingerprint, row in rows.items()
    }


def _distinguishing(outputs: Iterable[tuple[Mapping[str, Row], Descriptions]]) -> dict[str, tuple[str, ...]]:
    """Return for each arm the described columns that have several values in one of the outputs."""
    found: dict[str, set[str]] = {}
    for rows, descriptions in outputs:
        seen: dict[tuple[str, str], Any] = {}
        for fingerprint, row in rows.items():
            several = found.setdefault(row["arm"], set())
            for name, value in descriptions[fingerprint].items():
                if seen.setdefault((row["arm"], name), value) != value:
                    several.add(name)
    return {arm: tuple(sorted(names)) for arm, names in found.items()}


def _grouped(
    rows: Iterable[Row], descriptions: Descriptions, columns: Mapping[str, Sequence[str]]
) -> dict[Key, list[Row]]:
    groups: dict[Key, list[Row]] = {}
    for row in rows:
        own = descriptions[row["fingerprint"]]
        key = (*(row[name] for name in MATCHED), *(own[name] for name in columns[row["arm"]]))
        groups.setdefault(key, []).append(row)
    return groups


def _without(rows: Mapping[str, Row], others: Mapping[str, Row]) -> list[Row]:
    return [row for fingerprint, row in rows.items() if fingerprint not in others]
