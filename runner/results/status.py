"""``OUT/status.json``: the state of the last run of an ``--out``, and of others that go on; written every few seconds.

The file is small, is replaced as a whole, and holds plain JSON only, so that any tool can read it.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from goodshot.components.errors import BadInput, GoodshotError
from goodshot.runner.store.files import Files
from goodshot.runner.store.processes import is_gone

NAME = "status.json"
WRITE_SECONDS = 5.0
"""Pause between two writes of the file."""
SILENCE = timedelta(seconds=60)
"""Time without a write after which the driver of a running study counts as lost: twelve writes are missing then."""
LATE = timedelta(seconds=2 * WRITE_SECONDS)
"""Time without a write after which the driver's process is looked for. A container may have the name of its machine,
and ids of processes of its own, so a file that is written counts for more than a process that is not found."""

State = Literal["running", "complete", "incomplete", "stopped"]


class NodeStatus(BaseModel):
    """A node of the cluster.

    cpus, gpus, memory: the numbers of its CPUs and GPUs, and the bytes of its memory.
    cpus_used, gpus_used, memory_used: how much of them the running stages have reserved.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    cpus: float = 0.0
    cpus_used: float = 0.0
    gpus: float = 0.0
    gpus_used: float = 0.0
    memory: float = 0.0
    memory_used: float = 0.0
    is_leaving: bool = False
    """Whether the node is being drained, for example because a cloud will end a spot machine."""


class Status(BaseModel):
    """The state of a run.

    state: ``running`` until the run ends; then ``complete`` if every cell has a row, ``incomplete`` if some cells
        failed or were skipped, ``stopped`` if the run ended early.
    host, pid: the name of the driver's machine, and the id of its process there; 0 from earlier versions.
    studies: the names of the studies that are run.
    began, written: the times in UTC at which the run began and at which the status was written.
    cells: the number of requested cells.
    cells_reused: how many of them had finished before the run.
    cells_skipped: how many of them the run skips, because they have failed too often.
    cells_to_run: how many cells the run has begun to wait for.
    cells_done, cells_failed: how many of these have ended, and how many of the ended ones failed.
    steps_total, steps_done: the numbers of training steps that are planned and done.
    executed, running, queued: the numbers of stages by their kind, cells included.
    retries: the number of stages that were run again, by the reason.
    awaited: the number of stages, cells included, that another run makes and this one waits for.
    waits_for: a text that says what the run waits for; empty if the run waits for its own work only.
    seconds_left: the expected seconds until the run ends; None until a step or cell was timed.
    nodes: the nodes of the cluster.
    cpu_hours, gpu_hours: the hours of all CPUs and all GPUs of all nodes since the run began.
    others: the last status of each other run that goes on in the same ``--out``.
    """

    model_config = ConfigDict(frozen=True)

    state: State = "running"
    host: str = ""
    pid: int = 0
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
    others: tuple[Status, ...] = ()

    @property
    def run(self) -> tuple[str, datetime]:
        """The identity of the run: the driver's machine and the time at which the run began."""
        return self.host, self.began

    @property
    def all(self) -> tuple[Status, ...]:
        """The status of this run and of the other ones, in the order in which the runs began."""
        return tuple(sorted((self, *self.others), key=lambda status: status.began))

    @property
    def is_silent(self) -> bool:
        """Whether the run's driver has died: its process is gone, or it has not written for :data:`SILENCE`."""
        age = datetime.now(UTC) - self.written
        return self.state == "running" and (age > SILENCE or (age > LATE and self._is_gone))

    @property
    def _is_gone(self) -> bool:
        """Whether the driver was a process of this machine that is no more."""
        return bool(self.pid) and self.host == socket.gethostname() and is_gone(self.pid)

    def to_json(self) -> str:
        """Return the status as one JSON object."""
        return self.model_dump_json(indent=1)


def write_status(files: Files, status: Status) -> None:
    """Replace the status of the results at ``files``, and keep those of other runs that go on there.

    Two runs that write at the same instant drop each other's status until their next write.
    """
    found = None
    with suppress(GoodshotError, OSError):  # an unreadable status must not keep the file from being replaced
        found = read_status(files)
    known = (found, *found.others) if found else ()
    others = (s for s in known if s.run != status.run and s.state == "running" and not s.is_silent)
    own = status.model_copy(update={"others": tuple(s.model_copy(update={"others": ()}) for s in others)})
    files.write(NAME, f"{own.to_json()}\n".encode())


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
