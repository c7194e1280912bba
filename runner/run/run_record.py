"""``OUT/runs/<stamp>.json``: what a run has executed, kept up to date while it runs.

A run that is killed leaves what it had counted until seconds before.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime

from goodshot.components.errors import GoodshotError
from goodshot.runner.executor.progress import Progress
from goodshot.runner.results.status import Status
from goodshot.runner.run.options import Run
from goodshot.runner.run.status_record import StatusRecord
from goodshot.runner.store.files import Files

WRITE_SECONDS = 5.0
"""Pause between two writes of the file, which are skipped while nothing is counted."""
POLL_SECONDS = 1.0
"""Pause between two looks at the progress of a run."""


class RunRecord:
    """The file of one run, and its status (:class:`~goodshot.runner.run.status_record.StatusRecord`).

    Args:
        files: ``--out``.
        studies: the names of the studies.
        run: the counts that are known before the run.
        began: ``time.perf_counter()`` at its beginning.
    """

    def __init__(self, files: Files, studies: Sequence[str], run: Run, began: float) -> None:
        self._files, self._run, self._began = files, run, began
        self.status = StatusRecord(files, studies, run)
        self._name = f"runs/{datetime.now(UTC).strftime('%Y%m%dT%H%M%S.%f')}.json"
        self._written: tuple[object, ...] = ()
        self._next_write = 0.0

    def note(self, progress: Progress) -> None:
        """Write the counts of a run that goes on, unless that was done just now or nothing has been counted since."""
        self.status.note(progress)
        counts = (dict(progress.executed), dict(progress.steps_of))
        if not any(counts) or counts == self._written or time.monotonic() < self._next_write:
            return
        # A place that cannot be written for a moment is no reason to stop; the end of the run reports it.
        with suppress(OSError, GoodshotError):
            self._write(self._run.counted(progress, fail_fast=False))
            self._written, self._next_write = counts, time.monotonic() + WRITE_SECONDS

    def end(self, run: Run, has_ended: bool) -> Run:
        """Write the final counts. Returns them with the seconds since the beginning.

        Args:
            has_ended: whether the run ended by itself.
        """
        run = self._write(run)
        self.status.end(run, has_ended)
        return run

    def _write(self, run: Run) -> Run:
        run = replace(run, seconds=time.perf_counter() - self._began)
        self._files.write(self._name, json.dumps(asdict(run), indent=1).encode())
        return run


@contextmanager
def followed(poll: Callable[[], Progress], record: RunRecord) -> Iterator[Callable[[], Status]]:
    """Look at the progress of a run every second during a ``with`` block, and keep its record up to date.

    Args:
        poll: returns the current progress.

    Yields:
        A function that returns the last status without asking for it again.
    """
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(POLL_SECONDS):
            try:
                progress = poll()
            except Exception:  # the cluster is shutting down; the run itself reports the reason
                return
            record.note(progress)

    thread = threading.Thread(target=loop, name="run record", daemon=True)
    thread.start()
    try:
        yield lambda: record.status.current
    finally:
        stop.set()
        thread.join(timeout=5)
