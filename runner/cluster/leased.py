"""Jobs under leases: of all drivers that share a store or an ``--out``, one runs a job and the others wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar

import ray

from goodshot.runner.store.leases import BEAT_SECONDS, Leases

WAIT_SECONDS = 0.5
"""Pause between two attempts to acquire a lease that another driver holds."""

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread_unless_local(is_local: bool, call: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Call a function, in a thread unless files are local, because network requests would block the event loop."""
    if is_local:
        return call(*arguments, **options)
    return await asyncio.to_thread(call, *arguments, **options)


class LeasedJob:
    """A job under a lease. ``lost`` is set when another driver takes the lease over; ``stop`` cancels the job."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()
        self.stop: Callable[[], None] = lambda: None

    async def task(self, reference: Any) -> Any:
        """Wait for a Ray task and return its result; from now on :attr:`stop` cancels this task."""
        self.stop = partial(ray.cancel, reference, force=True)
        return await reference


class LeasedWork:
    """Runs this driver's jobs under leases and renews these leases.

    ``stages`` are leases shared with all drivers of the store, ``cells`` with all drivers of the ``--out``.
    """

    def __init__(self, store_uri: str, out: str) -> None:
        self.stages, self.cells = Leases(store_uri), Leases(out)
        self._jobs: dict[tuple[Leases, str], LeasedJob] = {}
        self._renewal: asyncio.Task[None] | None = None

    def keep(self) -> None:
        """Start renewing the leases in the background, unless this has been started."""
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._renew_leases())

    async def close(self) -> None:
        """Stop renewing and release all leases; jobs in progress are abandoned."""
        if self._renewal is not None:
            self._renewal.cancel()
        for leases in (self.stages, self.cells):
            await in_thread_unless_local(leases.is_local, leases.close)

    def stop(self) -> None:
        """Cancel all running jobs."""
        for job in self._jobs.values():
            job.stop()

    async def make(
        self,
        leases: Leases,
        key: str,
        done: Callable[[], Awaitable[bool]],
        make: Callable[[LeasedJob], Awaitable[None]],
    ) -> None:
        """Run ``make`` under the lease of ``key`` unless ``done`` returns True, for example because of another driver.

        As long as another driver holds the lease, wait. If another driver takes the lease over, ``make`` is cancelled
        and the wait begins again.
        """
        while True:
            if not await in_thread_unless_local(leases.is_local, leases.take, key):
                if await done():
                    return
                await asyncio.sleep(WAIT_SECONDS)
                continue
            try:
                # Checked under the lease, because another driver may have finished and released it just before.
                if await done() or await self._run_job(leases, key, make):
                    return
            finally:
                await in_thread_unless_local(leases.is_local, leases.release, key)

    async def _run_job(self, leases: Leases, key: str, make: Callable[[LeasedJob], Awaitable[None]]) -> bool:
        """Run ``make``. Returns True when it has ended, False if the lease was lost and the job cancelled."""
        job = self._jobs[leases, key] = LeasedJob()
        running, lost = asyncio.ensure_future(make(job)), asyncio.ensure_future(job.lost.wait())
        try:
            await asyncio.wait({running, lost}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
                return True
            # Another driver considered this one dead and runs the job itself.
            job.stop()
            with suppress(Exception, asyncio.CancelledError):
                await running
            return False
        finally:
            lost.cancel()
            del self._jobs[leases, key]

    async def _renew_leases(self) -> None:
        """Renew the leases periodically, and set ``lost`` of each job whose lease another driver took over."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            for leases in (self.stages, self.cells):
                for key in await asyncio.to_thread(leases.renew):
                    if (job := self._jobs.get((leases, key))) is not None:
                        job.lost.set()
