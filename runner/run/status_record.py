"""Keep ``OUT/status.json`` up to date during a run, and write into it how the run ended."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from goodshot.components.errors import GoodshotError
from goodshot.runner.executor.progress import Progress
from goodshot.runner.results.status import WRITE_SECONDS, State, Status, write_status
from goodshot.runner.run.options import Run
from goodshot.runner.store.files import Files

HOUR = 3600.0


class StatusRecord:
    """The status file of one run.

    Args:
        files: ``--out``.
        studies: the names of the studies.
        run: the counts that are known before the run.
    """

    def __init__(self, files: Files, studies: Sequence[str], run: Run) -> None:
        self._files, self._run = files, run
        self._studies, self._began = tuple(studies), datetime.now(UTC)
        self._cpu_hours, self._gpu_hours, self._looked = 0.0, 0.0, time.monotonic()
        self._next_write = 0.0
        self.current = self._of(Progress())

    def note(self, progress: Progress) -> None:
        """Take over the progress of a running run, and write the file unless it was written just now."""
        self.current = self._of(progress)
        if time.monotonic() >= self._next_write:
            self._next_write = time.monotonic() + WRITE_SECONDS
            self._write()

    def end(self, run: Run, has_ended: bool) -> None:
        """Write how the run ended.

        Args:
            run: the final counts of the run.
            has_ended: whether the run ended by itself.
        """
        state: State = "stopped" if not has_ended or run.halted else "complete"
        if state == "complete" and (run.failed or run.skipped):
            state = "incomplete"
        ended: dict[str, Any] = {
            "state": state,
            "written": datetime.now(UTC),
            "cells": run.cells,
            "cells_failed": run.failed,
            "seconds_left": None,
            "running": {},
            "queued": {},
            "awaited": 0,
            "waits_for": "",
        }
        if run.stages:
            ended |= {"executed": dict(run.executed), "retries": dict(run.retries)}
        if state != "stopped":
            # A run may end before its progress was polled, so the final counts of the run replace the polled counts.
            done = run.cells - run.reused - run.skipped
            ended |= {"cells_reused": run.reused, "cells_skipped": run.skipped}
            ended |= {"cells_to_run": done, "cells_done": done}
        self.current = self.current.model_copy(update=ended)
        self._write()

    def _write(self) -> None:
        # A failed write does not stop the run, because it may be temporary; a lasting error makes the results fail too.
        with suppress(OSError, GoodshotError):
            write_status(self._files, self.current)

    def _of(self, progress: Progress) -> Status:
        self._spend(progress)
        run = self._run
        return Status(
            host=socket.gethostname(),
            pid=os.getpid(),
            studies=self._studies,
            began=self._began,
            written=datetime.now(UTC),
            cells=run.cells,
            cells_reused=run.reused,
            cells_skipped=run.skipped,
            cells_to_run=progress.cells_total,
            cells_done=progress.cells_done,
            cells_failed=progress.cells_failed,
            steps_total=max(progress.steps_total, progress.steps_done),
            steps_done=progress.steps_done,
            executed=dict(progress.executed),
            running=dict(progress.running),
            queued=dict(progress.queued),
            retries=dict(progress.retries),
            awaited=progress.awaited,
            waits_for=progress.waits_for,
            seconds_left=progress.seconds_left(),
            nodes=progress.nodes,
            cpu_hours=self._cpu_hours,
            gpu_hours=self._gpu_hours,
        )

    def _spend(self, progress: Progress) -> None:
        """Add the hours of all nodes since the last poll, idle nodes included, because idle machines cost money too."""
        now = time.monotonic()
        hours, self._looked = (now - self._looked) / HOUR, now
        self._cpu_hours += hours * sum(node.cpus for node in progress.nodes)
        self._gpu_hours += hours * sum(node.gpus for node in progress.nodes)
