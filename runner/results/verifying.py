"""``goodshot verify OUT``: whether a study's rows are what their scores say, and their artifacts what was committed.

Nothing is changed. A finding is a line with its remedy; a row without a finding can be believed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from components.errors import GoodshotError
from components.metrics.detection import image_auroc
from runner.results.record import read_records
from runner.results.results import Results
from runner.results.trials import OUTCOME, objective_of
from runner.store.artifacts import Store

CLOSE = 1e-9
_NO_SCORES = np.empty(0, np.int8), np.empty(0)


@dataclass(frozen=True)
class Problem:
    """Something that is not as it should be: where, what, what to do, and the row that is not to be believed."""

    where: str
    what: str
    remedy: str
    fingerprint: str | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.remedy}"


def verify(results: Results, store: Store, forgotten: Collection[str] = ()) -> Iterator[Problem]:
    """Every problem of the rows in ``--out``, of the points that rest on them, then of the artifacts under them.

    Args:
        forgotten: rows that were taken out just now; a point that rests on them has to wait for its next run.
    """
    rows = results.rows((*OUTCOME, "n_test"))
    wrong = set(forgotten)
    for problem in _rows(rows, results):
        wrong.add(str(problem.fingerprint))
        yield problem
    yield from _trials(rows, results, wrong)
    yield from _artifacts(rows, results, store)


def verify_rows(results: Results) -> Iterator[Problem]:
    """Every problem of the rows alone."""
    yield from _rows(results.rows((*OUTCOME, "n_test")), results)


def _rows(rows: Mapping[str, Mapping[str, Any]], results: Results) -> Iterator[Problem]:
    again = "forget it (--forget) and run the study again"
    scores = _scores(results)
    measured = set(pc.unique(results.read("metrics", ["fingerprint"])["fingerprint"]).to_pylist())
    for fingerprint, row in rows.items():
        where = f"row {fingerprint[:12]} ({row['category']}, {row['arm']})"
        labels, values = scores.get(fingerprint, _NO_SCORES)
        if len(values) != row["n_test"]:
            yield Problem(where, f"has {len(values)} scores of {row['n_test']} test images", again, fingerprint)
            continue
        found = image_auroc(values, labels)
        stated = math.nan if row["image_auroc"] is None else row["image_auroc"]
        if not (abs(found - stated) <= CLOSE or (math.isnan(found) and math.isnan(stated))):
            yield Problem(where, f"says image AUROC {stated:.6f}, and its scores give {found:.6f}", again, fingerprint)
        if fingerprint not in measured:
            yield Problem(where, "has no metrics", again, fingerprint)


def _scores(results: Results) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Each cell's labels and scores, as parts of two arrays: a study of many cells has millions."""
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
    """Whether each point's value is the mean of the rows that it rests on, where these are not wrong themselves."""
    again = "run the study again"
    for trial in results.read("trials").to_pylist():
        if trial["value"] is None or math.isnan(trial["value"]) or not set(trial["fingerprints"]).isdisjoint(wrong):
            continue
        where = f"trial {trial['trial']} at L = {trial['iterations']}"
        found = [rows.get(fingerprint) for fingerprint in trial["fingerprints"]]
        if missing := found.count(None):
            yield Problem(where, f"{missing} of the {len(found)} rows that it rests on are not there", again)
        elif not abs((value := objective_of(found, trial["objective"])) - trial["value"]) <= CLOSE:
            what = f"says {trial['objective']} {trial['value']:.6f}, and its rows {value:.6f}"
            yield Problem(where, what, f"delete the trial's file in trials/ and {again}")


def _artifacts(rows: Mapping[str, Any], results: Results, store: Store) -> Iterator[Problem]:
    again = "delete that folder in the store and run the study again"
    keys: dict[str, None] = {}
    for record in read_records(results):
        for cell in record.cells:
            if cell.fingerprint in rows:
                keys |= dict.fromkeys(key for key in (cell.shard, cell.prompt, cell.image_set) if key is not None)
    for key in keys:
        if not store.has(key):
            yield Problem(key, "is not in the store", "run the study again to make it, if it is wanted")
            continue
        artifact = store.get(key)
        for name in artifact.names:
            try:
                artifact.read(name)
            except (GoodshotError, OSError) as error:
                what = "bytes differ from those committed" if isinstance(error, GoodshotError) else "cannot be read"
                yield Problem(f"{key}/{name}", what, again)
