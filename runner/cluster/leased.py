"""Run jobs under leases: one of the drivers that share a store or an ``--out`` runs a job, and the others wait."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar

import ray
from ray import ObjectRef

from goodshot.runner.store.leases import BEAT_SECONDS, Leases

WAIT_SECONDS = 0.5
"""Pause between two attempts to acquire a lease that another driver holds."""

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread_unless_local(is_local: bool, call: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Call a function; in a thread if files are remote, because network requests would block the event loop."""
    if is_local:
        return call(*arguments, **options)
    return await asyncio.to_thread(call, *arguments, **options)


class LeasedJob:
    """A job under a lease.

    lost: set when another driver takes the lease over.
    cancel: ends the running part of the job, so that the job fails.
    is_stopped: whether :meth:`stop` was called, so that the job's failure is intended.
    """

    def __init__(self) -> None:
        self.lost = asyncio.Event()
        self.cancel: Callable[[], None] = lambda: None
        self.is_stopped = False

    def stop(self) -> None:
        """Cancel the job."""
        self.is_stopped = True
        self.cancel()

    async def task(self, reference: ObjectRef[Any]) -> Any:
        """Wait for a Ray task and return its result; from now on :meth:`stop` cancels this task."""
        self.cancel = partial(ray.cancel, reference, force=True)
        return await reference


class LeasedWork:
    """Runs this driver's jobs under leases and renews these leases.

    ``stages`` are leases shared with all drivers of the store, ``cells`` with all drivers of the ``--out``.
    """

    def __init__(self, store_uri: str, out: str) -> None:
        self.stages, self.cells = Leases(store_uri), Leases(out)
        self._jobs: dict[tuple[Leases, str], LeasedJob] = {}
        self._awaited: Counter[Leases] = Counter()
        self._renewal: asyncio.Task[None] | None = None

    def keep(self) -> None:
        """Start renewing the leases in the background, unless the renewal is running already."""
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

    @property
    def awaited_stages(self) -> int:
        """The number of stages that another driver makes and this one waits for."""
        return self._awaited[self.stages]

    @property
    def awaited_cells(self) -> int:
        """The number of cells that another driver runs and this one waits for."""
        return self._awaited[self.cells]

    async def make(
        self,
        leases: Leases,
        key: str,
        done: Callable[[], Awaitable[bool]],
        make: Callable[[LeasedJob], Awaitable[None]],
    ) -> None:
        """Run ``make`` under the lease of ``key``, unless ``done`` returns True, as after another driver did the job.

        As long as another driver holds the lease, this method waits. If another driver takes the lease over, ``make``
        is cancelled and the wait begins again.
        """
        while True:
            if not await in_thread_unless_local(leases.is_local, leases.take, key):
                with self._waiting_for(leases):
                    if await self._wait_for_lease(leases, key, done):
                        return
            try:
                # Checked under the lease, because another driver may have finished and released it just before.
                if await done() or await self._run_job(leases, key, make):
                    return
            finally:
                await in_thread_unless_local(leases.is_local, leases.release, key)

    async def _wait_for_lease(self, leases: Leases, key: str, done: Callable[[], Awaitable[bool]]) -> bool:
        """Return False as soon as this driver holds the lease, or True as soon as another driver has done the job."""
        while not await done():
            await asyncio.sleep(WAIT_SECONDS)
            if await in_thread_unless_local(leases.is_local, leases.take, key):
                return False
        return True

    @contextmanager
    def _waiting_for(self, leases: Leases) -> Iterator[None]:
        self._awaited[leases] += 1
        try:
            yield
        finally:
            self._awaited[leases] -= 1

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
