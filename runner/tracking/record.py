"""What is known of each W&B run, below ``--out``: where it is, and what it holds already.

``OUT/wandb/runs/<id>.json`` is one run. A study that is resumed continues its runs by these records, and logs nothing
twice; the report reads their addresses.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from goodshot.components.errors import GoodshotError
from goodshot.runner.store.files import Files
from goodshot.runner.store.fingerprint import fingerprint

FOLDER = "wandb/runs"
IDENTITY = "wandb/identity"
"""The file that identifies an output in the ids of its runs. A path would not: a folder can be moved, and another
output can be made where one was deleted."""


@dataclass(frozen=True)
class RunRecord:
    """One W&B run.

    point, label: the point's key, and the point for people; both empty for the run that sums a study up.
    url: its page; empty for a run that has only been written offline.
    content: digest of the content that it holds in full; empty while something is missing.
    lines: how many lines were logged, which are W&B's steps.
    curves: the last iteration of each of its curves; by ``L=…`` which means it has.
    pictured: the supports whose images it shows.
    """

    id: str
    study: str
    point: str
    label: str
    project: str
    entity: str | None = None
    url: str = ""
    content: str = ""
    lines: int = 0
    curves: Mapping[str, int] = field(default_factory=dict)
    pictured: tuple[str, ...] = ()

    def at(self, run: Any) -> RunRecord:
        """The record with the address of W&B's run; one that is offline has none."""
        return replace(self, url=run.url or self.url, entity=run.entity or self.entity)


def read_run_records(files: Files) -> list[RunRecord]:
    """The records of all runs; one that cannot be read is left out."""
    found = (_read(files, name) for name in files.names(FOLDER, ".json"))
    return [record for record in found if record is not None]


class RunRecords:
    """The records below one ``--out``, for the process that writes the runs."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._identity = _identity(files)

    def id_of(self, study: str, key: str) -> str:
        """The id of the run of one point of a study, or with an empty key of the run that sums the study up."""
        return fingerprint("wandb_run", 1, {"out": self._identity, "study": study, "point": key}, {})[:16]

    def read(self, id_: str) -> RunRecord | None:
        """The record of a run; None if there is none."""
        return _read(self._files, f"{FOLDER}/{id_}.json")

    def write(self, record: RunRecord) -> None:
        """Keep a record in place of the run's earlier one."""
        self._files.write(f"{FOLDER}/{record.id}.json", json.dumps(asdict(record), indent=1).encode())


def _identity(files: Files) -> str:
    with suppress(FileNotFoundError):
        return files.read(IDENTITY).decode()
    files.write(IDENTITY, uuid.uuid4().hex.encode())
    return files.read(IDENTITY).decode()


def _read(files: Files, name: str) -> RunRecord | None:
    try:
        values: dict[str, Any] = json.loads(files.read(name))
        known = {name: values[name] for name in RunRecord.__dataclass_fields__ if name in values}
        return RunRecord(**{**known, "pictured": tuple(known.get("pictured", ()))})
    except (GoodshotError, FileNotFoundError, ValueError, TypeError):
        return None
