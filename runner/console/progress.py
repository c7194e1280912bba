"""The progress of a run in the driver's terminal: the whole status there, plain lines in a log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from goodshot.runner.console.durations import duration
from goodshot.runner.console.status import progress_line, status_view
from goodshot.runner.results.status import Status

POLL_SECONDS = 0.5
LINE_EVERY_SECONDS = 15.0


@contextmanager
def shown(console: Console, latest: Callable[[], Status]) -> Iterator[None]:
    """Show the status that ``latest`` returns, until the ``with`` block ends."""
    display: _View | _Lines = _View(console) if console.is_terminal else _Lines(console)
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(POLL_SECONDS):
            display.update(latest())

    thread = threading.Thread(target=loop, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=5)
        display.close()


class _View:
    """Shows the whole status in place; it disappears at the end."""

    def __init__(self, console: Console) -> None:
        self._live = Live(Text("starting"), console=console, transient=True, auto_refresh=False)
        self._live.start()

    def update(self, status: Status) -> None:
        self._live.update(status_view(status), refresh=True)

    def close(self) -> None:
        self._live.stop()


class _Lines:
    """Prints a line every few seconds, but only if a count has changed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last_counts = ""
        self._next_line = 0.0

    def update(self, status: Status) -> None:
        now, counts = time.monotonic(), progress_line(status)
        if now < self._next_line or counts in ("", self._last_counts):
            return
        left = "" if status.seconds_left is None else f" · about {duration(status.seconds_left)} left"
        self._console.print(f"{counts}{left}", highlight=False)
        self._last_counts, self._next_line = counts, now + LINE_EVERY_SECONDS

    def close(self) -> None:
        pass
