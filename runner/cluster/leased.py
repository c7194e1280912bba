"""Work under leases: of all drivers that share a store or an ``--out`` one makes a thing, the others wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar

import ray

from runner.store.leases import BEAT_SECONDS, Leases

WAIT_SECONDS = 0.5
"""Between two looks at what another driver works on."""


P = ParamSpec("P")
T = TypeVar("T")


async def in_thread_unless_local(is_local: bool, ask: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """What ``ask`` returns: at once of local files, in a thread beside the event loop of an object store."""
    if is_local:
        return ask(*arguments, **options)
    return await asyncio.to_thread(ask, *arguments, **options)


class LeasedJob:
    """Something that is made under a lease: told when it is lost, and how what is under way is stopped."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()
        self.stop: Callable[[], None] = lambda: None

    async def task(self, reference: Any) -> Any:
        """What a Ray task returns, which is cancelled if the lease is lost."""
        self.stop = partial(ray.cancel, reference, force=True)
        return await reference


class LeasedWork:
    """What this driver makes under its leases, which it renews.

    ``stages`` are shared by whoever has this store, ``cells`` by whoever has this ``--out``.
    """

    def __init__(self, store_uri: str, out: str) -> None:
        self.stages, self.cells = Leases(store_uri), Leases(out)
        self._under_way: dict[tuple[Leases, str], LeasedJob] = {}
        self._beating: asyncio.Task[None] | None = None

    def keep(self) -> None:
        """Renew the leases from now on, as long as the event loop runs."""
        if self._beating is None:
            self._beating = asyncio.create_task(self._beat())

    async def close(self) -> None:
        """Give every lease back: nothing that is under way will be finished."""
        if self._beating is not None:
            self._beating.cancel()
        for leases in (self.stages, self.cells):
            await in_thread_unless_local(leases.is_local, leases.close)

    def stop(self) -> None:
        """Stop everything that is under way."""
        for work in self._under_way.values():
            work.stop()

    async def make(
        self,
        leases: Leases,
        key: str,
        done: Callable[[], Awaitable[bool]],
        make: Callable[[LeasedJob], Awaitable[None]],
    ) -> None:
        """Make something under its lease, unless it is done by then: another driver has made it, or does now."""
        while True:
            if not await in_thread_unless_local(leases.is_local, leases.take, key):
                if await done():
                    return
                await asyncio.sleep(WAIT_SECONDS)
                continue
            try:
                # Looked at under the lease: until just now another driver may have held it.
                if await done() or await self._is_made(leases, key, make):
                    return
            finally:
                await in_thread_unless_local(leases.is_local, leases.release, key)

    async def _is_made(self, leases: Leases, key: str, make: Callable[[LeasedJob], Awaitable[None]]) -> bool:
        """Make it; whether the lease was this driver's until then."""
        mine = self._under_way[leases, key] = LeasedJob()
        work, lost = asyncio.ensure_future(make(mine)), asyncio.ensure_future(mine.lost.wait())
        try:
            await asyncio.wait({work, lost}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
                return True
            # Another driver took this one for dead and works on it: what is under way here is of no use.
            mine.stop()
            with suppress(Exception, asyncio.CancelledError):
                await work
            return False
        finally:
            lost.cancel()
            del self._under_way[leases, key]

    async def _beat(self) -> None:
        """Renew the leases; whoever lost one is told."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            for leases in (self.stages, self.cells):
                for key in await asyncio.to_thread(leases.renew):
                    if (work := self._under_way.get((leases, key))) is not None:
                        work.lost.set()
