"""Follow the output of a job until it ends, over a connection that may break.

At each connection, Ray's stream of a job's output begins with the first line, so lines that were printed already are
skipped. A stream can be silent because the job prints nothing, or because the connection is dead. After some seconds of
silence, the dashboard is asked for the job's state.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import aiohttp
from ray.dashboard.modules.job.pydantic_models import JobDetails

from goodshot.components.errors import GoodshotError
from goodshot.runner.submission.jobs import Client, Unanswered, find

SILENCE_SECONDS = 5.0
"""Silence of the stream after which the dashboard is asked for the job's state."""
PATIENCE_SECONDS = 8.0
"""How long a dashboard may be unreachable before it counts as lost."""
BUSY_SECONDS = 90.0
"""How long a dashboard may accept requests without an answer: on a busy machine, answers took more than 10 s."""
AGAIN_SECONDS = 1.0


class ClusterLost(GoodshotError):
    """The dashboard no longer answers; the job may still run, or may have died with its cluster."""


def follow(client: Client, job_id: str, write: Callable[[str], None], tell: Callable[[str], None]) -> JobDetails:
    """Write a job's output from its start until it ends, and return how it ended.

    Args:
        write: gets pieces of the output.
        tell: gets messages about the job, for example that the job waits to be started.

    Raises:
        BadInput: there is no job with this id.
        ClusterLost: the dashboard was unreachable for :data:`PATIENCE_SECONDS`, or gave no answer for
            :data:`BUSY_SECONDS`.
    """
    return asyncio.run(_Follower(client, job_id, write, tell).run())


class _Follower:
    def __init__(self, client: Client, job_id: str, write: Callable[[str], None], tell: Callable[[str], None]) -> None:
        self.client, self.job_id, self.write, self.tell = client, job_id, write, tell
        self.written = 0
        self.state = ""

    async def run(self) -> JobDetails:
        while True:
            await self._stream()
            job = await self._asked()
            if job.status.is_terminal():
                await self._rest()
                return job
            await asyncio.sleep(AGAIN_SECONDS)

    async def _rest(self) -> None:
        """Write the output that the stream lacked, because Ray may end the stream before the job's last lines."""
        with suppress(GoodshotError, RuntimeError, OSError):
            output = await asyncio.to_thread(self.client.get_job_logs, self.job_id)
            if rest := (output or "")[self.written :]:
                self.written += len(rest)
                self.write(rest)

    async def _stream(self) -> None:
        """Write the stream's output until the stream ends or breaks, or is silent after the end of the job."""
        skip = self.written
        stream = self.client.tail_job_logs(self.job_id)
        piece = asyncio.ensure_future(anext(stream))
        try:
            while True:
                done, _ = await asyncio.wait({piece}, timeout=SILENCE_SECONDS)
                if not done:
                    if (await self._asked()).status.is_terminal():
                        return
                    continue
                text = piece.result()
                fresh, skip = text[skip:], max(0, skip - len(text))
                self.written += len(fresh)
                self.write(fresh)
                piece = asyncio.ensure_future(anext(stream))
        except (StopAsyncIteration, RuntimeError, OSError, aiohttp.ClientError):
            return
        finally:
            piece.cancel()
            await asyncio.gather(piece, return_exceptions=True)
            await stream.aclose()  # type: ignore[attr-defined]  # it is a generator

    async def _asked(self) -> JobDetails:
        """Return the job's state; repeats the request while the dashboard does not answer."""
        began, is_told = time.monotonic(), False
        while True:
            try:
                job = await asyncio.to_thread(find, self.client, self.job_id)
            except Unanswered as error:
                if time.monotonic() - began > (BUSY_SECONDS if error.is_slow else PATIENCE_SECONDS):
                    raise ClusterLost(str(error)) from None
                if error.is_slow and not is_told:
                    self.tell(f"the dashboard takes requests and does not answer; it is asked for {BUSY_SECONDS:.0f} s")
                    is_told = True
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            if job.status.value != self.state and job.status.value == "PENDING":
                self.tell(f"job {self.job_id}: waits to be started")
            self.state = job.status.value
            return job
