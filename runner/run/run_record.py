"""``OUT/runs/<stamp>.json``: what a run has executed, kept up to date while it runs.

A run that is killed leaves what it had counted until seconds before.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime

from goodshot.components.errors import GoodshotError
from goodshot.runner.executor.progress import Progress
from goodshot.runner.run.options import Run
from goodshot.runner.store.files import Files

WRITE_SECONDS = 5.0
"""Pause between two writes of the file, which are skipped while nothing is counted."""
POLL_SECONDS = 1.0
"""Pause between two looks at the progress of a run."""


class RunRecord:
    """The file of one run.

    Args:
        files: ``--out``.
        run: the counts that are known before the run.
        began: ``time.perf_counter()`` at its beginning.
    """

    def __init__(self, files: Files, run: Run, began: float) -> None:
        self._files, self._run, self._began = files, run, began
        self._name = f"runs/{datetime.now(UTC).strftime('%Y%m%dT%H%M%S.%f')}.json"
        self._written: tuple[object, ...] = ()
        self._next_write = 0.0

    def note(self, progress: Progress) -> None:
        """Write the counts of a run that goes on, unless that was done just now or nothing has been counted since."""
        counts = (dict(progress.executed), dict(progress.steps_of))
        if not any(counts) or counts == self._written or time.monotonic() < self._next_write:
            return
        # A place that cannot be written for a moment is no reason to stop; the end of the run reports it.
        with suppress(OSError, GoodshotError):
            self.write(self._run.counted(progress, fail_fast=False))
            self._written, self._next_write = counts, time.monotonic() + WRITE_SECONDS

    def write(self, run: Run) -> Run:
        """Write the counts, with the seconds since the beginning. Returns what was written."""
        run = replace(run, seconds=time.perf_counter() - self._began)
        self._files.write(self._name, json.dumps(asdict(run), indent=1).encode())
        return run


@contextmanager
def followed(poll: Callable[[], Progress], record: RunRecord) -> Iterator[Callable[[], Progress]]:
    """Look at the progress of a run every second during a ``with`` block, and keep its record up to date.

    Args:
        poll: returns the current progress.

    Yields:
        A function that returns the last progress without asking for it again.
    """
    last, stop = [Progress()], threading.Event()

    def loop() -> None:
        while not stop.wait(POLL_SECONDS):
            try:
                last[0] = poll()
            except Exception:  # the cluster is shutting down; the run itself reports the reason
                return
            record.note(last[0])

    thread = threading.Thread(target=loop, name="run record", daemon=True)
    thread.start()
    try:
        yield lambda: last[0]
    finally:
        stop.set()
        thread.join(timeout=5)
