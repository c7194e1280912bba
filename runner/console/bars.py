"""Progress bars on a terminal, and how their other information is laid out."""

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
"""Called with what is done and what there is in all (None where that is not known)."""


def bars(console: Console, *columns: ProgressColumn) -> Progress:
    """Bars with a description before and ``columns`` behind each, gone when they end; nothing but on a terminal."""
    before = (TextColumn("{task.description:<16}"), BarColumn())
    return Progress(*before, *columns, console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def bar(doing: str, console: Console, in_bytes: bool = False) -> Iterator[Report]:
    """One bar with the remaining time, of counted things or of bytes (then with the speed too)."""
    counted = (DownloadColumn(), TransferSpeedColumn()) if in_bytes else (MofNCompleteColumn(),)
    with bars(console, *counted, TimeRemainingColumn()) as shown:
        task = shown.add_task(doing, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
