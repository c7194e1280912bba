"""The records of a study's trials: the values of each point, its objective, and the cells of which that is the mean.

``OUT/trials/<study>-<search>-<trial>.parquet`` has a row for each L that a trial has reported, or one row without an
objective if the trial has not reported yet. A search that was killed continues from these records: its trials are
repeated in the order in which they began, without running finished cells again. Ray Tune's own state is not read.
"""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from goodshot.components.config import LONGEST_NAME
from goodshot.runner.declaration.points import SWEPT
from goodshot.runner.plan.plan import Trial, point_key
from goodshot.runner.results.results import Results
from goodshot.runner.store.files import below, public
from goodshot.runner.store.fingerprint import fingerprint
from goodshot.runner.study.settings import to_yaml
from goodshot.runner.study.study import Study

State = Literal["running", "complete", "stopped", "failed"]
"""The state of a trial; ``stopped`` if the scheduler stopped it before its last L."""
BESIDE = {"title", "dev", "resources", "name", "dataset"}
"""Fields of a study that are not part of a search's identity; the dataset's name is added to it separately."""


@dataclass(frozen=True)
class Report:
    """The mean of the objective over a trial's judged cells at one L; NaN if one of these cells failed."""

    iterations: int
    value: float
    fingerprints: tuple[str, ...]


@dataclass(frozen=True)
class TrialRecord:
    """One tried point: its values, its reports by ascending L, and its state."""

    name: str
    started: float
    values: Mapping[str, Any]
    state: State = "running"
    reports: tuple[Report, ...] = ()
    error: str = ""
    """Why the point is invalid for the study; empty if it is valid."""

    @property
    def best(self) -> Report | None:
        """The first report with the largest finite value; None if no report has one."""
        return max((r for r in self.reports if math.isfinite(r.value)), key=lambda r: r.value, default=None)

    def ended(self, state: State) -> TrialRecord:
        """Return the record with another state."""
        return replace(self, state=state)

    @property
    def label(self) -> str:
        """The point as text, with the L of its best report."""
        return Trial(self.point, {}).label

    @property
    def point(self) -> dict[str, Any]:
        """The values of the point, with the L of its best report if it has one."""
        best = self.best
        return {**self.values, "iterations": best.iterations} if best else dict(self.values)


def search_identity(study: Study) -> str:
    """Return the identity of a search, which depends on the space and the objective, not on the number of trials."""
    declared = {name: value for name, value in study.identified().items() if name not in BESIDE}
    if study.prompt.wordnet == "embedded":
        declared["prompt"]["wordnet"] = "extract"  # the name of this value in earlier versions
    declared["search"] = {k: v for k, v in declared["search"].items() if k not in ("trials", "concurrent")}
    # Only the names of datasets count: a recorded study, which has no credentials, must get the same identity.
    declared["variation_sources"] = [source.name for source in study.variation_sources]
    return fingerprint("search", 1, {**declared, "dataset": study.dataset.name}, {})[:8]


@dataclass
class Ledger:
    """The trials of one study below one ``--out``."""

    results: Results
    study: Study
    identity: str = field(init=False)

    def __post_init__(self) -> None:
        self.identity = search_identity(self.study)

    def read(self) -> list[TrialRecord]:
        """Return all trials in the order in which they began; a point that was tried twice has two trials."""
        own = f"{self.study.name}-{self.identity}-"
        rows: dict[str, list[dict[str, Any]]] = {}
        for row in self.results.read("trials").to_pylist():
            if row["trial"].startswith(own):
                rows.setdefault(row["trial"], []).append(row)
        return sorted((_record(name, each) for name, each in rows.items()), key=lambda r: r.started)

    def begin(self, values: Mapping[str, Any]) -> TrialRecord:
        """Record and return a new trial without reports."""
        name = f"{self.study.name}-{self.identity}-{uuid.uuid4().hex[:12]}"
        return self.write(TrialRecord(name, time.time(), dict(values)))

    def write(self, record: TrialRecord) -> TrialRecord:
        """Write the record of a trial atomically, and return it."""
        common = {
            "study": self.study.name,
            "trial": record.name,
            "started": record.started,
            "state": record.state,
            "point": point_key(record.values),
            "objective": self.study.objective,
            "arm": self.study.judged_arm.label,
            "error": record.error,
            **{name: record.values.get(name) for name in SWEPT},
        }
        reports = [
            {**common, "iterations": r.iterations, "value": r.value, "fingerprints": list(r.fingerprints)}
            for r in record.reports
        ]
        self.results.write_trial(record.name, reports or [common])
        return record

    def write_chosen(self, record: TrialRecord) -> str:
        """Write ``OUT/chosen/<study>.yaml``, the study restricted to this point, and return the file's location."""
        name = f"chosen/{self.study.name}.yaml"
        self.results.files.write(name, chosen_yaml(self.study, record).encode())
        return below(public(self.results.uri), name)


def chosen_yaml(study: Study, record: TrialRecord) -> str:
    """Return the study restricted to a trial's point, as YAML without credentials."""
    ending = "-chosen"
    own = study.at(record.point).model_copy(update={"name": study.name[: LONGEST_NAME - len(ending)] + ending})
    return public(to_yaml(own))


def _record(name: str, rows: Sequence[Mapping[str, Any]]) -> TrialRecord:
    first = rows[0]
    reports = (
        Report(row["iterations"], row["value"], tuple(row["fingerprints"])) for row in rows if row["value"] is not None
    )
    ordered = tuple(sorted(reports, key=lambda r: r.iterations))
    return TrialRecord(
        name, first["started"], json.loads(first["point"]), first["state"], ordered, first["error"] or ""
    )


def objective_of(rows: Sequence[Mapping[str, Any] | None], objective: str, arm: str) -> float:
    """Return the objective of a point: the mean over its cells of the judged arm; NaN if any cell has no row.

    With a missing row, the mean would depend on which of the cells have finished.
    """
    finished = [row for row in rows if row is not None]
    values = [row[objective] for row in finished if row["arm"] == arm and row.get(objective) is not None]
    return sum(values) / len(values) if values and len(finished) == len(rows) else math.nan


def reported(record: TrialRecord, report: Report) -> TrialRecord:
    """Return the record with a further report, which replaces an earlier report of the same L."""
    others = [r for r in record.reports if r.iterations != report.iterations]
    return replace(record, reports=tuple(sorted((*others, report), key=lambda r: r.iterations)))


def chosen(records: Iterable[TrialRecord]) -> TrialRecord | None:
    """Return the first trial with the largest value in its best report; None if no trial has a value."""
    found = [(record.best.value, record) for record in records if record.best is not None]
    return max(found, key=lambda pair: pair[0])[1] if found else None
