"""Progress bars on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

Report = Callable[[int, int | None], None]
"""Progress callback: the amount done, and the total amount (None if unknown)."""


def bars(console: Console, *columns: ProgressColumn) -> Progress:
    """Return a display of bars, each between its description and ``columns``.

    The bars disappear at their end. If the console is not a terminal, nothing is shown.
    """
    before = (TextColumn("{task.description:<16}"), BarColumn())
    return Progress(*before, *columns, console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def bar(doing: str, console: Console, in_bytes: bool = False) -> Iterator[Report]:
    """Show one bar with the remaining time, for a count or for bytes (then also with the speed)."""
    columns = (DownloadColumn(), TransferSpeedColumn()) if in_bytes else (MofNCompleteColumn(),)
    with bars(console, *columns, TimeRemainingColumn()) as display:
        task = display.add_task(doing, total=None)
        yield lambda done, total: display.update(task, completed=done, total=total)
