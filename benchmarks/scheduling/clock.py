"""An event loop without waiting: when nothing can run, its time jumps to the next timer.

The time that the process itself computes counts too, so that a scheduler that is too slow for its cluster shows it.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from typing import Any


class _Jumping(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """A selector that notes how long it would have waited."""

    jumped = 0.0

    def select(self, timeout: float | None = None) -> Any:
        """Return what is ready now; without an event, time has passed by ``timeout``."""
        ready = super().select(0)
        if not ready and timeout is not None:
            self.jumped += max(0.0, timeout)
        if not ready and timeout is None:
            raise RuntimeError("nothing can happen any more: every task waits for another one")
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop. ``counts_itself``: whether the seconds of this process's CPU are part of the time."""

    def __init__(self, counts_itself: bool = True) -> None:
        self._jumping, self._counts_itself = _Jumping(), counts_itself
        super().__init__(self._jumping)

    def time(self) -> float:
        """The virtual seconds since the process began."""
        own = time.process_time() if self._counts_itself else 0.0
        return self._jumping.jumped + own
