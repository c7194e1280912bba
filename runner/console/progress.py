"""The progress of a run: bars on a terminal, plain lines elsewhere, both with the study's expected end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn

from runner.console.bars import bars
from runner.executor.progress import Progress

POLL_SECONDS = 0.5
LINE_EVERY_SECONDS = 15.0


@contextmanager
def shown(console: Console, poll: Callable[[], Progress], parallel: float) -> Iterator[None]:
    """Show the progress that ``poll`` returns until the ``with`` ends.

    Args:
        parallel: CPUs that work at once, for the expected end.
    """
    display: _Bars | _Lines = _Bars(console) if console.is_terminal else _Lines(console)
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(POLL_SECONDS):
            try:
                progress = poll()
            except Exception:  # the cluster is going away; the run itself reports why
                return
            display.update(progress, progress.seconds_left(parallel))

    thread = threading.Thread(target=loop, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=5)
        display.close()


def duration(seconds: float) -> str:
    """For example ``45 s``, ``3 min``, ``2 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


class _Bars:
    def __init__(self, console: Console) -> None:
        self._bars = bars(console, MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[left]}"))
        self._steps = self._bars.add_task("generator steps", left="", total=None)
        self._cells = self._bars.add_task("cells", left="", total=None)
        self._bars.start()

    def update(self, progress: Progress, seconds_left: float | None) -> None:
        left = "estimating the end" if seconds_left is None else f"about {duration(seconds_left)} left"
        self._set(self._steps, progress.steps_done, progress.steps_total, "")
        self._set(self._cells, progress.cells_done, progress.cells_total, left)

    def close(self) -> None:
        self._bars.stop()

    def _set(self, task: TaskID, done: int, total: int, left: str) -> None:
        self._bars.update(task, completed=done, total=max(total, done), left=left)


class _Lines:
    """One line every few seconds, and only when something has moved."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = ""
        self._next = 0.0

    def update(self, progress: Progress, seconds_left: float | None) -> None:
        now = time.monotonic()
        counts = (
            f"cells {progress.cells_done}/{progress.cells_total} · "
            f"generator steps {progress.steps_done}/{progress.steps_total}"
        )
        if now < self._next or counts == self._last or not progress.cells_total:
            return
        left = "" if seconds_left is None else f" · about {duration(seconds_left)} left"
        self._console.print(f"{counts}{left}", highlight=False)
        self._last, self._next = counts, now + LINE_EVERY_SECONDS

    def close(self) -> None:
        pass
