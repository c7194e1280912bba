"""The progress of a run with its expected remaining time: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn

from goodshot.runner.console.bars import bars
from goodshot.runner.executor.progress import Progress

POLL_SECONDS = 0.5
LINE_EVERY_SECONDS = 15.0


@contextmanager
def shown(console: Console, poll: Callable[[], Progress], parallel: float) -> Iterator[None]:
    """Show the progress that ``poll`` returns, until the ``with`` block ends.

    Args:
        poll: returns the current progress.
        parallel: the number of CPUs that work in parallel, from which the remaining time is estimated.
    """
    display: _Bars | _Lines = _Bars(console) if console.is_terminal else _Lines(console)
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(POLL_SECONDS):
            try:
                progress = poll()
            except Exception:  # the cluster is shutting down; the run itself reports the reason
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
    """Format seconds, for example as ``45 s``, ``3 min`` or ``2 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


class _Bars:
    """Shows a bar for the training steps and one for the cells."""

    def __init__(self, console: Console) -> None:
        self._bars = bars(console, MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[remaining]}"))
        self._steps = self._bars.add_task("generator steps", remaining="", total=None)
        self._cells = self._bars.add_task("cells", remaining="", total=None)
        self._bars.start()

    def update(self, progress: Progress, seconds_left: float | None) -> None:
        remaining = "estimating the end" if seconds_left is None else f"about {duration(seconds_left)} left"
        self._set(self._steps, progress.steps_done, progress.steps_total, progress.waits_for)
        self._set(self._cells, progress.cells_done, progress.cells_total, remaining)

    def close(self) -> None:
        self._bars.stop()

    def _set(self, task: TaskID, done: int, total: int, remaining: str) -> None:
        self._bars.update(task, completed=done, total=max(total, done), remaining=remaining)


class _Lines:
    """Prints a line every few seconds, but only if a count has changed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last_counts = ""
        self._next_line = 0.0

    def update(self, progress: Progress, seconds_left: float | None) -> None:
        now = time.monotonic()
        counts = (
            f"cells {progress.cells_done}/{progress.cells_total} · "
            f"generator steps {progress.steps_done}/{progress.steps_total}"
        ) + f" · {progress.waits_for}" * bool(progress.waits_for)
        if now < self._next_line or counts == self._last_counts or not progress.cells_total:
            return
        remaining = "" if seconds_left is None else f" · about {duration(seconds_left)} left"
        self._console.print(f"{counts}{remaining}", highlight=False)
        self._last_counts, self._next_line = counts, now + LINE_EVERY_SECONDS

    def close(self) -> None:
        pass
