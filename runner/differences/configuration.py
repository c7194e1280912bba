"""Find the differences in the configuration of two outputs, and in the software and data of their rows."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from goodshot.runner.arms import arms
from goodshot.runner.cells import cell_kinds
from goodshot.runner.differences.matching import Pair
from goodshot.runner.differences.outputs import Output
from goodshot.runner.results.comparison import Row
from goodshot.runner.study.study import Study

NOTHING = "–"
"""Stands for a value that only the other output has."""


@dataclass(frozen=True)
class Setting:
    """One difference in configuration: its place, its name, and its value in each output."""

    where: str
    name: str
    first: str
    second: str


def settings_that_differ(first: Output, second: Output, pairs: Sequence[Pair]) -> list[Setting]:
    """Return every difference: fields of studies, what the rows were computed with, photographs and originals."""
    return [
        *_studies(first, second),
        *_differing("rows", _made_with(first.rows.values()), _made_with(second.rows.values())),
        *_photographs(first, second, pairs),
    ]


def _studies(first: Output, second: Output) -> Iterator[Setting]:
    """Compare the studies with the same name; if each output has only one study, compare these two in any case."""
    a, b = ({record.study.name: record.study for record in output.records} for output in (first, second))
    if len(a) == len(b) == 1 and a.keys() != b.keys():
        (one,), (other,) = a.values(), b.values()
        yield from _differing(f"study {one.name} | {other.name}", _fields(one), _fields(other))
        return
    for name in dict.fromkeys([*a, *b]):
        if name in a and name in b:
            yield from _differing(f"study {name}", _fields(a[name]), _fields(b[name]))
        else:
            yield Setting("outputs", f"study {name}", *("there" if name in each else NOTHING for each in (a, b)))


def _fields(study: Study) -> dict[str, str]:
    """Return a study's fields by dotted path, as in ``--set``."""
    return dict(_flat(study.model_dump(mode="json")))


def _flat(values: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted paths with values as JSON. Lists of plain values and empty mappings count as values."""
    is_nested = isinstance(values, list) and any(isinstance(value, dict) for value in values)
    below = dict(enumerate(values)) if is_nested else values if isinstance(values, dict) else {}
    if not below:
        yield path, json.dumps(values, ensure_ascii=False)
    for key, value in below.items():
        yield from _flat(value, f"{path}.{key}" if path else str(key))


def _made_with(rows: Iterable[Row]) -> dict[str, str]:
    """Return what the rows were computed with: each name with its values, such as ``torch`` → ``2.11 and 2.12``.

    The names are the packages, the code, the device, and the columns in which arms and cell kinds name their weights:
    embedded substitutes are recognised by these names.
    """
    found: dict[str, set[str]] = {}
    owned = (*(kind.made_with for kind in cell_kinds()), *(arm.made_with for arm in arms()))
    columns = dict.fromkeys(("commit", "device", *itertools.chain(*owned)))
    distinct = {tuple(row[name] for name in ("versions", *columns)) for row in rows}
    for versions, *values in distinct:
        named = {**dict(zip(columns, values, strict=True)), **(json.loads(versions) if versions else {})}
        for name, value in named.items():
            if value not in (None, ""):
                found.setdefault(name, set()).add(str(value))
    return {name: " and ".join(sorted(found[name])) for name in sorted(found)}


def _photographs(first: Output, second: Output, pairs: Sequence[Pair]) -> Iterator[Setting]:
    """Name the categories whose photographs differ in content, and the supports that consist of other images."""
    shards = [_shards(first), _shards(second)]
    contents: list[dict[str, str]] = [{}, {}]
    originals: list[dict[str, str]] = [{}, {}]
    for pair in pairs:
        for index, row in enumerate(pair):
            category = f"{row['dataset']}/{row['category']}"
            if all(row["fingerprint"] in known for row, known in zip(pair, shards, strict=True)):
                contents[index][category] = shards[index][row["fingerprint"]]
            support = f"{category}, shots {row['shots']}, support {row['support_seed']}"
            originals[index][support] = ", ".join(row["support_ids"] or ())
    yield from _differing("photographs", *contents)
    yield from _differing("originals", *originals)


def _shards(output: Output) -> dict[str, str]:
    """Return the store key of each recorded cell's photographs, which their content determines."""
    return {cell.fingerprint: cell.shard for record in output.records for cell in record.cells}


def _differing(where: str, first: Mapping[str, str], second: Mapping[str, str]) -> Iterator[Setting]:
    for name in dict.fromkeys([*first, *second]):
        values = first.get(name, NOTHING), second.get(name, NOTHING)
        if values[0] != values[1]:
            yield Setting(where, name, *values)
