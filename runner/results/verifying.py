"""``goodshot verify OUT``: check that rows agree with their scores, and artifacts with what was committed.

The check changes nothing. Each problem is reported as one line with its remedy; a row without a problem is reliable.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from goodshot.components.errors import GoodshotError
from goodshot.runner.arms import ONCE_JUDGED
from goodshot.runner.cells import cell_kinds, kind_of_row
from goodshot.runner.results.record import StudyRecord, read_records
from goodshot.runner.results.results import Results
from goodshot.runner.results.trials import objective_of
from goodshot.runner.store.artifacts import Store
from goodshot.runner.store.files import public

CLOSE = 1e-9
_NO_SCORES = np.empty(0, np.int8), np.empty(0)


@dataclass(frozen=True)
class Problem:
    """A problem: its place, its description, its remedy, and the row that is unreliable because of it."""

    where: str
    what: str
    remedy: str
    fingerprint: str | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.remedy}"


def verify(results: Results, store: Store, forgotten: Collection[str] = ()) -> Iterator[Problem]:
    """Yield every problem of the rows in ``--out``, of the trials that depend on the rows, and of the rows' artifacts.

    Args:
        forgotten: rows that were just removed; a trial that depends on such a row is checked after the next run.
    """
    rows = _read_rows(results)
    records = read_records(results)
    wrong = set(forgotten)
    for problem in _rows(rows, results):
        wrong.add(str(problem.fingerprint))
        yield problem
    yield from _unknown_kinds(rows)
    yield from _trials(rows, results, wrong)
    yield from _artifacts(rows, records, store)


def verify_rows(results: Results) -> Iterator[Problem]:
    """Yield every problem of the rows, without trials and artifacts."""
    yield from _rows(_read_rows(results), results)


def _read_rows(results: Results) -> dict[str, dict[str, Any]]:
    checked = [column for kind in cell_kinds() for column in kind.checked]
    return results.rows(tuple(dict.fromkeys(("cell", *results.tables.outcome, *checked))))


def _rows(rows: Mapping[str, Mapping[str, Any]], results: Results) -> Iterator[Problem]:
    scores = _scores(results)
    measured = set(pc.unique(results.read("metrics", ["fingerprint"])["fingerprint"]).to_pylist())
    for fingerprint, row in rows.items():
        where = f"row {fingerprint[:12]} ({row['category']}, {row['arm']})"
        kind = kind_of_row(row["cell"])
        if kind is None:
            continue  # reported by _unknown_kinds; --forget must not delete a row that only this version cannot check
        for what in kind.problems(row, *scores.get(fingerprint, _NO_SCORES), fingerprint in measured):
            yield Problem(where, what, "forget it (--forget) and run the study again", fingerprint)


def _unknown_kinds(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
    """Yield a problem for each cell kind that this version of goodshot does not know, whose rows are not checked."""
    kinds = Counter(str(row["cell"]) for row in rows.values() if kind_of_row(row["cell"]) is None)
    for kind, count in kinds.items():
        remedy = "verify them with the version of goodshot that wrote them"
        yield Problem(
            f"cell kind {kind}", f"{count} rows cannot be checked, this version does not know the kind", remedy
        )


def _scores(results: Results) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return each cell's labels and scores, as views of two arrays to save memory: large studies have millions."""
    table = results.read("scores", ["fingerprint", "label", "score"])
    chunks = table["fingerprint"].dictionary_encode().chunks
    if not chunks:
        return {}
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in chunks])
    order = np.argsort(codes, kind="stable")
    labels, values = (table[name].to_numpy()[order] for name in ("label", "score"))
    names = chunks[-1].dictionary.to_pylist()
    ends = np.cumsum(np.bincount(codes, minlength=len(names)))
    parts = zip(names, np.split(labels, ends[:-1]), np.split(values, ends[:-1]), strict=True)
    return {name: (own_labels, own_values) for name, own_labels, own_values in parts}


def _trials(rows: Mapping[str, Mapping[str, Any]], results: Results, wrong: Collection[str]) -> Iterator[Problem]:
    """Yield a problem for each trial with missing rows or a value that is not their mean, unless a row is wrong."""
    again = "run the study again"
    for trial in results.read("trials").to_pylist():
        if trial["value"] is None or math.isnan(trial["value"]) or not set(trial["fingerprints"]).isdisjoint(wrong):
            continue
        where = f"trial {trial['trial']} at L = {trial['iterations']}"
        found = [rows.get(fingerprint) for fingerprint in trial["fingerprints"]]
        if missing := found.count(None):
            yield Problem(where, f"{missing} of the {len(found)} rows that it rests on are not there", again)
            continue
        value = objective_of(found, trial["objective"], trial["arm"] or ONCE_JUDGED)
        if not abs(value - trial["value"]) <= CLOSE:
            what = f"says {trial['objective']} {trial['value']:.6f}, and its rows {value:.6f}"
            yield Problem(where, what, f"delete the trial's file in trials/ and {again}")


def _artifacts(rows: Mapping[str, Any], records: Sequence[StudyRecord], store: Store) -> Iterator[Problem]:
    again = "delete that folder in the store and run the study again"
    keys: dict[str, None] = {}
    for record in records:
        for cell in record.cells:
            if cell.fingerprint in rows:
                keys |= dict.fromkeys(cell.stages)
    there = {key for key in keys if store.has(key)}
    if keys and not there:
        what = f"holds none of the {len(keys)} artifacts of these rows"
        yield Problem(f"store {public(store.uri)}", what, "give the --store of the study, or run it again to make them")
        return
    for key in keys:
        if key not in there:
            yield Problem(key, "is not in the store", "run the study again to make it, if it is wanted")
            continue
        artifact = store.get(key)
        for name in artifact.names:
            try:
                artifact.read(name)
            except (GoodshotError, OSError) as error:
                what = "bytes differ from those committed" if isinstance(error, GoodshotError) else "cannot be read"
                yield Problem(f"{key}/{name}", what, again)
