"""Limit how many cells are in progress; the limits follow the number of nodes."""

from __future__ import annotations

import asyncio
from collections import deque

from goodshot.runner.declaration.resources import Resources

AHEAD = 4
"""Cells in progress per cell that can run at once, so that a free worker always finds a submitted cell."""
AHEAD_OF_QUICK, QUICK_SECONDS = 32, 0.1
"""The limit that replaces ``AHEAD`` if cells take less than ``QUICK_SECONDS`` on average: with fewer cells in progress,
workers would wait for this process."""


class Places:
    """A first-in, first-out semaphore whose number of places may change while places are taken."""

    def __init__(self, count: int) -> None:
        self._count, self._taken = count, 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """The number of tasks that wait for a place."""
        return len(self._waiting)

    async def acquire(self) -> None:
        """Wait for a place and take it."""
        granted = asyncio.get_running_loop().create_future()
        self._waiting.append(granted)
        self._grant()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """Give a place back."""
        self._taken -= 1
        self._grant()

    def resize(self, count: int) -> None:
        """Change the number of places. Taken places beyond the new number stay taken until they are released."""
        self._count = count
        self._grant()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *_: object) -> None:
        self.release()

    def _grant(self) -> None:
        while self._waiting and self._taken < self._count:
            granted = self._waiting.popleft()
            if not granted.cancelled():
                self._taken += 1
                granted.set_result(None)


class Admission:
    """Limits how many cells with the same declared resources are in progress.

    ``running`` limits the leased cells, because other drivers can take only cells without a lease. ``begun`` limits the
    cells that have a task in the event loop; every other cell needs memory only for its entry in the plan.
    """

    def __init__(self, resources: Resources, at_once: int) -> None:
        self.resources = resources
        self._at_once, self._more = at_once, 0
        self.running = Places(self._most_running)
        self.begun = Places(self._most_begun)

    def widen(self, seconds_each: float) -> None:
        """Let one more cell run at once if cells take less than ``QUICK_SECONDS`` on average, up to a limit."""
        if seconds_each < QUICK_SECONDS and self._more < (AHEAD_OF_QUICK - AHEAD) * self._at_once:
            self._more += 1
            self.running.resize(self._most_running)

    def resize(self, at_once: int) -> None:
        """Set the number of cells that can run at once, which changes with the nodes."""
        if at_once != self._at_once:
            self._at_once = at_once
            self._more = min(self._more, (AHEAD_OF_QUICK - AHEAD) * at_once)
            self.running.resize(self._most_running)
            self.begun.resize(self._most_begun)

    @property
    def _most_running(self) -> int:
        return self.resources.detections or AHEAD * self._at_once + self._more

    @property
    def _most_begun(self) -> int:
        return 2 * AHEAD_OF_QUICK * self._at_once
