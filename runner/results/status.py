"""``OUT/status.json``: how far the last run into a folder is, written every few seconds while it runs.

It is small, is replaced as a whole, and everything in it is plain JSON, so that any tool can read it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from goodshot.components.errors import BadInput
from goodshot.runner.store.files import Files

NAME = "status.json"
WRITE_SECONDS = 5.0
"""Pause between two writes."""
SILENCE = timedelta(seconds=60)
"""A running study that has not written for so long has lost its driver: a dozen writes are missing."""

State = Literal["running", "complete", "incomplete", "stopped"]


class NodeStatus(BaseModel):
    """A node of the cluster: the numbers of its CPUs and GPUs, the bytes of its memory, and how much stages reserve."""

    model_config = ConfigDict(frozen=True)

    name: str
    cpus: float = 0.0
    cpus_used: float = 0.0
    gpus: float = 0.0
    gpus_used: float = 0.0
    memory: float = 0.0
    memory_used: float = 0.0
    is_leaving: bool = False
    """Whether it is drained, for example because a spot machine will be taken away."""


class Status(BaseModel):
    """The state of a run.

    state: ``complete`` if every cell has a row, ``incomplete`` if the run has ended and some failed or were skipped,
        ``stopped`` if it ended early.
    host: the machine of its driver.
    began, written: when the run began, and when this was written, in UTC.
    cells: all requested; of these ``cells_reused`` were finished before, ``cells_skipped`` had failed too often.
    cells_to_run: those that this run has begun to wait for, of which ``cells_done`` ended and ``cells_failed`` failed.
    executed, running, queued: the numbers of stages by their kind, cells included.
    retries: stages that were run again, by the reason.
    awaited: the number of stages, cells included, that another run makes and this one waits for.
    waits_for: what the run waits for, in words; empty if nothing but its own work.
    seconds_left: the expected seconds to the end; None until something was timed.
    cpu_hours, gpu_hours: of all nodes, since the run began.
    """

    model_config = ConfigDict(frozen=True)

    state: State = "running"
    host: str = ""
    studies: tuple[str, ...] = ()
    began: datetime
    written: datetime
    cells: int = 0
    cells_reused: int = 0
    cells_skipped: int = 0
    cells_to_run: int = 0
    cells_done: int = 0
    cells_failed: int = 0
    steps_total: int = 0
    steps_done: int = 0
    executed: Mapping[str, int] = {}
    running: Mapping[str, int] = {}
    queued: Mapping[str, int] = {}
    retries: Mapping[str, int] = {}
    awaited: int = 0
    waits_for: str = ""
    seconds_left: float | None = None
    nodes: tuple[NodeStatus, ...] = ()
    cpu_hours: float = 0.0
    gpu_hours: float = 0.0

    @property
    def is_silent(self) -> bool:
        """Whether its driver has probably died: it has not written for longer than :data:`SILENCE`."""
        return self.state == "running" and datetime.now(UTC) - self.written > SILENCE

    def to_json(self) -> str:
        """The status as one JSON object."""
        return self.model_dump_json(indent=1)


def write_status(files: Files, status: Status) -> None:
    """Replace the status of the results at ``files``."""
    files.write(NAME, f"{status.to_json()}\n".encode())


def read_status(files: Files) -> Status | None:
    """Return the last status of the results at ``files``; None if no run has written one.

    Raises:
        BadInput: the file is damaged.
    """
    try:
        return Status.model_validate(json.loads(files.read(NAME)))
    except FileNotFoundError:
        return None
    except (ValueError, ValidationError):
        raise BadInput(f"{files.shown}/{NAME}: is damaged; the next run replaces it") from None
