"""Write ``OUT/runs/<stamp>.json``, which records what a run has executed, and update the file during the run.

The file of a killed run has the counts of a few seconds before.
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
"""Minimum pause between two writes of the file. It is not written while the counts do not change."""
POLL_SECONDS = 1.0
"""Pause between two polls of the progress of a run."""


class RunRecord:
    """The file of one run, and its status (:class:`~goodshot.runner.run.status_record.StatusRecord`).

    Args:
        files: ``--out``.
        studies: the names of the studies.
        run: the counts that are known before the run.
        began: the value of ``time.perf_counter()`` at the beginning of the run.
    """

    def __init__(self, files: Files, studies: Sequence[str], run: Run, began: float) -> None:
        self._files, self._run, self._began = files, run, began
        self.status = StatusRecord(files, studies, run)
        self._name = f"runs/{datetime.now(UTC).strftime('%Y%m%dT%H%M%S.%f')}.json"
        self._written: tuple[object, ...] = ()
        self._next_write = 0.0

    def note(self, progress: Progress) -> None:
        """Write the counts of a running run, unless they were written just now or have not changed since."""
        self.status.note(progress)
        counts = (dict(progress.executed), dict(progress.steps_of))
        if not any(counts) or counts == self._written or time.monotonic() < self._next_write:
            return
        # A failed write does not stop the run, because it may be temporary; a lasting error is raised at the end.
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
    """Poll the progress of a run every second during a ``with`` block, and keep the run's record up to date.

    Args:
        poll: returns the current progress.

    Yields:
        A function that returns the last status without polling the progress again.
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
