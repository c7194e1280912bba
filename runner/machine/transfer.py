"""The progress of a download or of unpacking: a bar on a terminal, else plain lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from components.download import readable

Say = Callable[[str], None]
Report = Callable[[int, int | None], None]


@contextmanager
def transfer(doing: str, say: Say) -> Iterator[Report]:
    """A bar with speed and remaining time on a terminal, else a line after every tenth."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(doing, say)
        return
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), DownloadColumn()),
        *(TransferSpeedColumn(), TimeRemainingColumn()),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(doing: str, say: Say) -> Report:
    last = -1

    def report(done: int, total: int | None) -> None:
        nonlocal last
        step = done * 10 // total if total else done >> 28
        if step != last:
            last = step
            say(f"{doing}: {step * 10} % of {readable(total)}" if total else f"{doing}: {readable(done)}")

    return report
