"""The progress of downloading or unpacking: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console

from goodshot.components.download import readable
from goodshot.runner.console.bars import Report, bar

Say = Callable[[str], None]


def transfer(doing: str, say: Say) -> AbstractContextManager[Report]:
    """Report the progress of ``doing``: a bar with speed and remaining time on a terminal, else a line at each tenth.

    If the total is unknown, a line appears every 268 MB (2²⁸ bytes) instead.
    """
    console = Console(stderr=True, markup=False, emoji=False)
    return bar(doing, console, in_bytes=True) if console.is_terminal else nullcontext(_lines(doing, say))


def _lines(doing: str, say: Say) -> Report:
    last = -1

    def report(done: int, total: int | None) -> None:
        nonlocal last
        step = done * 10 // total if total else done >> 28
        if step != last:
            last = step
            say(f"{doing}: {step * 10} % of {readable(total)}" if total else f"{doing}: {readable(done)}")

    return report
