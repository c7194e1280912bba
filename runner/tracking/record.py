"""The records of W&B runs below ``--out``: the address of each run, and which content was logged to it.

``OUT/wandb/runs/<id>.json`` describes one run. A resumed study continues its runs by these records and logs nothing
twice. The report reads the addresses of the runs.
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
"""The file with the output's identity, from which the ids of its runs are computed. A path does not identify an output,
because a folder can be moved, and a new output can be made in the place of a deleted output."""


@dataclass(frozen=True)
class RunRecord:
    """One W&B run.

    point, label: the point's key, and the point as readable text; both empty for the run that summarises a study.
    url: the page of the run; empty for a run that was only written offline.
    content: a digest of the run's complete content; empty while the content is incomplete.
    lines: the number of logged lines, which W&B counts as steps.
    curves: the last logged iteration of each curve; a name ``L=…`` states that the means at this L were logged.
    pictured: the supports whose images were logged.
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
        """Return the record with the address of W&B's run; an offline run has no address."""
        return replace(self, url=run.url or self.url, entity=run.entity or self.entity)


def read_run_records(files: Files) -> list[RunRecord]:
    """Return the records of all runs, without records that cannot be read."""
    found = (_read(files, name) for name in files.names(FOLDER, ".json"))
    return [record for record in found if record is not None]


class RunRecords:
    """The records below one ``--out``, for the process that writes the runs."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._identity = _identity(files)

    def id_of(self, study: str, key: str) -> str:
        """Return the id of the run of one point of a study; with an empty key, of the run that summarises the study."""
        return fingerprint("wandb_run", 1, {"out": self._identity, "study": study, "point": key}, {})[:16]

    def read(self, id_: str) -> RunRecord | None:
        """Return the record of a run; None if there is none."""
        return _read(self._files, f"{FOLDER}/{id_}.json")

    def write(self, record: RunRecord) -> None:
        """Write a record, which replaces the run's earlier record."""
        self._files.write(f"{FOLDER}/{record.id}.json", json.dumps(asdict(record), indent=1).encode())


def _identity(files: Files) -> str:
    with suppress(FileNotFoundError):
        return files.read(IDENTITY).decode()
    # Of two drivers of one --out, the one that comes second takes the first one's.
    files.create(IDENTITY, uuid.uuid4().hex.encode())
    return files.read(IDENTITY).decode()


def _read(files: Files, name: str) -> RunRecord | None:
    try:
        values: dict[str, Any] = json.loads(files.read(name))
        known = {name: values[name] for name in RunRecord.__dataclass_fields__ if name in values}
        return RunRecord(**{**known, "pictured": tuple(known.get("pictured", ()))})
    except (GoodshotError, FileNotFoundError, ValueError, TypeError):
        return None
