"""What became of the points of a study, kept beside its rows: values, objective, and the cells that it is the mean of.

``OUT/trials/<study>-<search>-<trial>.parquet`` has a row for each L that a trial has reported, or one without an
objective where it has not reported yet. A search that was killed goes on from here: its trials are asked for again, in
the order in which they began, and their rows are finished; nothing of Ray Tune's own state is read.
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
from goodshot.runner.cells import USUAL
from goodshot.runner.declaration.search import SWEPT
from goodshot.runner.declaration.synthesis import SynthesisConfig
from goodshot.runner.plan.plan import Trial, point_key
from goodshot.runner.results.results import Results
from goodshot.runner.store.files import below, public
from goodshot.runner.store.fingerprint import fingerprint
from goodshot.runner.study.settings import to_yaml
from goodshot.runner.study.study import Study

State = Literal["running", "complete", "stopped", "failed"]
"""``stopped``: the scheduler gave the point up before its last L."""
BESIDE = {"title", "dev", "resources", "name", "dataset"}
"""Fields of a study that do not change what is searched; the dataset counts by its name."""
LATER: Mapping[str, Any] = {"cells": [USUAL.name]}
"""Fields that came later, at the values that mean "as before": they change no identity."""
LATER_OF_PROMPTS: Mapping[str, Any] = {"naive_if_unknown": False, "caption": None}
"""Such fields of the prompt."""
LATER_OF_DETECTORS: Mapping[str, Any] = {"epoch_images": None}
"""Such fields of each detector."""


@dataclass(frozen=True)
class Report:
    """The objective's mean over a trial's judged cells at one L; NaN if one of them failed."""

    iterations: int
    value: float
    fingerprints: tuple[str, ...]


@dataclass(frozen=True)
class TrialRecord:
    """One point that was tried: its values, what it reported by growing L, and how it ended."""

    name: str
    started: float
    values: Mapping[str, Any]
    state: State = "running"
    reports: tuple[Report, ...] = ()
    error: str = ""
    """Why the study cannot have this point, where it cannot."""

    @property
    def best(self) -> Report | None:
        """The report with the largest value, of equal ones the first; None if there is none with a value."""
        return max((r for r in self.reports if math.isfinite(r.value)), key=lambda r: r.value, default=None)

    def ended(self, state: State) -> TrialRecord:
        """The record of a trial that ended so."""
        return replace(self, state=state)

    @property
    def label(self) -> str:
        """The point with the L of its best report."""
        return Trial(self.point, {}).label

    @property
    def point(self) -> dict[str, Any]:
        """The values, with the L of the best report."""
        best = self.best
        return {**self.values, "iterations": best.iterations} if best else dict(self.values)


def search_identity(study: Study) -> str:
    """The identity of a search. Another space or objective gives another identity; more trials do not."""
    declared = study.model_dump(mode="json", exclude=BESIDE)
    declared = _without(declared, {**LATER, "synthesis": SynthesisConfig().model_dump(mode="json")})
    declared["prompt"] = _without(declared["prompt"], LATER_OF_PROMPTS)
    declared["detectors"] = [_without(detector, LATER_OF_DETECTORS) for detector in declared["detectors"]]
    if study.prompt.wordnet == "embedded":
        declared["prompt"]["wordnet"] = "extract"  # the name that it had when it was an extract
    declared["search"] = {k: v for k, v in declared["search"].items() if k not in ("trials", "concurrent")}
    # Of datasets their names: a study's record keeps no credentials, and has to find its trials.
    declared["variation_sources"] = [source.name for source in study.variation_sources]
    return fingerprint("search", 1, {**declared, "dataset": study.dataset.name}, {})[:8]


def _without(declared: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in declared.items() if later.get(name, ...) != value}


@dataclass
class Ledger:
    """The trials of one study below one ``--out``."""

    results: Results
    study: Study
    identity: str = field(init=False)

    def __post_init__(self) -> None:
        self.identity = search_identity(self.study)

    def read(self) -> list[TrialRecord]:
        """All trials in the order in which they began; of a point that was tried twice, both."""
        own = f"{self.study.name}-{self.identity}-"
        rows: dict[str, list[dict[str, Any]]] = {}
        for row in self.results.read("trials").to_pylist():
            if row["trial"].startswith(own):
                rows.setdefault(row["trial"], []).append(row)
        return sorted((_record(name, each) for name, each in rows.items()), key=lambda r: r.started)

    def begin(self, values: Mapping[str, Any]) -> TrialRecord:
        """A trial that has reported nothing yet."""
        name = f"{self.study.name}-{self.identity}-{uuid.uuid4().hex[:12]}"
        return self.write(TrialRecord(name, time.time(), dict(values)))

    def write(self, record: TrialRecord) -> TrialRecord:
        """Keep what is known of a trial; atomic."""
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
        """Leave ``OUT/chosen/<study>.yaml``, the study at this point alone, and return where that is."""
        name = f"chosen/{self.study.name}.yaml"
        self.results.files.write(name, chosen_yaml(self.study, record).encode())
        return below(public(self.results.uri), name)


def chosen_yaml(study: Study, record: TrialRecord) -> str:
    """The study at a trial's point alone, as YAML without credentials."""
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
    """What a point is worth: the mean over its cells of the judged arm; NaN if any of its cells has no row.

    A point is never chosen by the cells that it happened to finish.
    """
    finished = [row for row in rows if row is not None]
    values = [row[objective] for row in finished if row["arm"] == arm and row.get(objective) is not None]
    return sum(values) / len(values) if values and len(finished) == len(rows) else math.nan


def reported(record: TrialRecord, report: Report) -> TrialRecord:
    """The record with one more report, in place of an earlier one of the same L."""
    others = [r for r in record.reports if r.iterations != report.iterations]
    return replace(record, reports=tuple(sorted((*others, report), key=lambda r: r.iterations)))


def chosen(records: Iterable[TrialRecord]) -> TrialRecord | None:
    """The trial whose best report is the best of all, the first of equal ones; None if none has a value."""
    found = [(record.best.value, record) for record in records if record.best is not None]
    return max(found, key=lambda pair: pair[0])[1] if found else None
