"""The actors of a run that keep objects warm: as many as the nodes have room for, each on one home at a time."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import ray
from ray.exceptions import RayActorError

from components.errors import GoodshotError
from runner.cluster.worker import Job, JobReport

LINGER_SECONDS = 20.0
"""An actor without work stays, with all that it has imported and kept, as long as nothing needs its place."""
LOOK_SECONDS = 0.5


class Placement(Protocol):
    """How the pool's actors come to be, and when they have to go."""

    def start(self, job: Job, node: str | None) -> Any:
        """A fresh actor for a job; on that node if it has room."""

    def suits(self, actor: Any, job: Job) -> bool:
        """Whether an actor that worked on something else holds what this job needs."""

    def slots(self, job: Job) -> int:
        """How many actors work on jobs like this one at once."""

    def seconds(self, job: Job) -> float:
        """What a job is expected to take."""

    def is_wanted(self) -> bool:
        """Whether something waits for what an idle actor holds."""

    def run_in(self, actor: Any, job: Job) -> Any:
        """A reference to the job's :class:`JobReport`, while the actor works on it."""


@dataclass
class Waiting:
    """A job that waits for an actor."""

    job: Job
    seconds: float
    done: asyncio.Future[JobReport] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def home(self) -> str:
        """The home of its stage."""
        return str(self.job.stage.home)


class ActorPool:
    """Hands jobs to actors, the longest first.

    A slot stays with one home (a category) while that has jobs, because its actor has the originals and the encoder at
    hand; then it takes over the home with the most work, with a fresh actor, on the node that had the home before. A
    slot without work gives its actor, and with it the CPU, back to the stages that wait for one: all its state is in
    the store.
    """

    def __init__(self, placement: Placement, linger_seconds: float = LINGER_SECONDS) -> None:
        self._placement, self._linger_seconds = placement, linger_seconds
        self._queues: defaultdict[str, list[Waiting]] = defaultdict(list)
        self._working: set[asyncio.Task[None] | None] = set()
        self._idle: set[asyncio.Task[None] | None] = set()
        self._busy: dict[int, Any] = {}
        self._cpus: dict[asyncio.Task[None] | None, float] = {}
        self._nodes: dict[str, str] = {}
        self._arrived = asyncio.Event()

    @property
    def size(self) -> int:
        """Actors that hold a place now, idle ones too."""
        return len(self._working)

    @property
    def cpus(self) -> float:
        """CPUs that its actors hold, with the processes that train together."""
        return sum(self._cpus.values())

    async def run(self, job: Job) -> JobReport:
        """Run one job. Raises what its stage raised."""
        waiting = Waiting(job, self._placement.seconds(job))
        queue = self._queues[waiting.home]
        queue.append(waiting)
        queue.sort(key=lambda each: each.seconds, reverse=True)
        self._arrived.set()
        # Idle slots take up one each.
        waiting_now = sum(map(len, self._queues.values()))
        if waiting_now > len(self._idle) and len(self._working) < self._placement.slots(job):
            self._working.add(asyncio.create_task(self._work()))
        return await waiting.done

    def stop(self, job: Job) -> None:
        """Stop working on a job: the actor that does is killed, a job that waits is not begun."""
        if (actor := self._busy.get(id(job))) is not None:
            _stop(actor)
        for queue in self._queues.values():
            for waiting in [w for w in queue if w.job is job]:
                queue.remove(waiting)
                waiting.done.set_exception(GoodshotError("stopped before it began"))

    async def _work(self) -> None:
        """One slot: job after job until no queue has any."""
        actor, home = None, ""
        while (queue := self._next_queue(home)) or await self._lingered(actor):
            if not (queue := queue or self._next_queue(home)):
                continue
            waiting = queue.pop(0)
            job = waiting.job
            try:
                if actor is None or waiting.home != home or not self._placement.suits(actor, job):
                    _stop(actor)
                    actor, home = None, waiting.home
                    actor = self._placement.start(job, self._nodes.get(home))
                    self._cpus[asyncio.current_task()] = job.share.cpus * (1 + job.share.workers)
                self._busy[id(job)] = actor
                report: JobReport = await self._placement.run_in(actor, job)
                self._nodes[home] = report.node
                waiting.done.set_result(report)
            except Exception as error:
                waiting.done.set_exception(error)
                if isinstance(error, RayActorError):
                    # Gone for good: the next job must not fail for this one's sake.
                    actor = None
            finally:
                self._busy.pop(id(job), None)
        # In the same breath as finding nothing to do: a job that comes later must find the slot free.
        self._working.discard(asyncio.current_task())
        self._cpus.pop(asyncio.current_task(), None)
        _stop(actor)

    async def _lingered(self, actor: Any) -> bool:
        """Wait with an idle actor for more work. False once there is none for long, or its place is wanted."""
        if actor is None:
            return False
        ends = asyncio.get_running_loop().time() + self._linger_seconds
        self._idle.add(asyncio.current_task())
        try:
            while asyncio.get_running_loop().time() < ends and not self._placement.is_wanted():
                if any(self._queues.values()):
                    return True
                self._arrived.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._arrived.wait(), LOOK_SECONDS)
        finally:
            self._idle.discard(asyncio.current_task())
        return any(self._queues.values())

    def _next_queue(self, home: str) -> list[Waiting] | None:
        if self._queues[home]:
            return self._queues[home]
        return max(self._queues.values(), key=lambda queue: sum(each.seconds for each in queue)) or None


def _stop(actor: Any) -> None:
    if actor is not None:
        ray.kill(actor)
