"""A pool of Ray actors that keep objects in memory between jobs.

The pool has as many actors as the nodes have room for. Each actor runs the stages of one ``home`` (a category).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import ray
from ray import ObjectRef
from ray.actor import ActorHandle
from ray.exceptions import RayActorError

from goodshot.components.errors import GoodshotError
from goodshot.runner.cluster.failures import FaultyNode, NoCuda, cause_of
from goodshot.runner.cluster.worker import Job, JobReport, StageActor
from goodshot.runner.stages.base import NodeLeaves

LINGER_SECONDS = 20.0
"""How long an idle actor keeps its imports and objects in memory, unless other work waits for its CPUs."""
NODE_IS_WRONG = (NodeLeaves, FaultyNode, NoCuda)
"""Errors of a job after which its actor's node gets no further job."""
LOOK_SECONDS = 0.5
"""Pause between two checks whether other work waits for the CPUs of an idle actor."""


class Placement(Protocol):
    """Starts the pool's actors, and decides how many there are and when an idle one ends."""

    def start(self, job: Job, node: str | None) -> ActorHandle[StageActor]:
        """Start a new actor for a job, on the node with this Ray id if it has room."""

    def leaves(self, node: str) -> bool:
        """Return whether the node with this Ray id takes no further jobs."""

    def suits(self, actor: ActorHandle[Any], job: Job) -> bool:
        """Return whether an existing actor reserves the CPUs and GPUs that this job needs."""

    def slots(self, job: Job) -> int:
        """Return the number of actors that may run jobs like this one at once."""

    def seconds(self, job: Job) -> float:
        """Return the expected duration of a job in seconds."""

    def is_wanted(self) -> bool:
        """Return whether other work waits for the CPUs of an idle actor."""

    def run_in(self, actor: ActorHandle[Any], job: Job) -> ObjectRef[JobReport]:
        """Start a job in an actor. Returns a Ray reference to the job's :class:`JobReport`."""


@dataclass
class Waiting:
    """A queued job: its expected seconds, and the future of its report."""

    job: Job
    seconds: float
    done: asyncio.Future[JobReport] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def home(self) -> str:
        """The home of the job's stage."""
        return str(self.job.stage.home)


class ActorPool:
    """Runs jobs in actors, those with the longest expected duration first.

    A slot runs jobs one after another in its actor. It stays with one home (a category) while this home has jobs,
    because its actor has the originals and the encoder in memory. Then it takes over the home with the most queued work
    and starts a new actor, if possible on the node that served this home before. An idle slot ends its actor when other
    stages wait for its CPUs; nothing is lost, because all results are in the store. The number of slots follows the
    nodes: :meth:`fill` starts slots after nodes were added, and a slot for which no node has room ends after its job.
    """

    def __init__(self, placement: Placement, linger_seconds: float = LINGER_SECONDS) -> None:
        self._placement, self._linger_seconds = placement, linger_seconds
        self._queues: defaultdict[str, list[Waiting]] = defaultdict(list)
        self._slots: set[asyncio.Task[None] | None] = set()
        self._idle_slots: set[asyncio.Task[None] | None] = set()
        self._starting = 0
        """The number of slots that have been created and have not taken their first job yet."""
        self._actor_of_job: dict[int, Any] = {}
        self._running: dict[int, Job] = {}
        self._cpus_of_slot: dict[asyncio.Task[None] | None, float] = {}
        self._node_of_home: dict[str, str] = {}
        self._job_arrived = asyncio.Event()

    @property
    def size(self) -> int:
        """The number of slots, idle ones included."""
        return len(self._slots)

    @property
    def cpus(self) -> float:
        """The CPUs that the actors and their training workers reserve."""
        return sum(self._cpus_of_slot.values())

    async def run(self, job: Job) -> JobReport:
        """Run one job and return its report. Raises the stage's error, or RayActorError if its actor died."""
        waiting = Waiting(job, self._placement.seconds(job))
        queue = self._queues[waiting.home]
        queue.append(waiting)
        queue.sort(key=lambda waiting: waiting.seconds, reverse=True)
        self._job_arrived.set()
        self.fill()
        return await waiting.done

    def fill(self) -> None:
        """Start as many slots as the queued jobs need and the current nodes have room for."""
        # Each idle slot will run one of the queued jobs.
        needed = len(self.queued) - len(self._idle_slots) - self._starting
        for job in self.queued[: max(0, needed)]:
            if len(self._slots) >= self._placement.slots(job):
                return
            self._starting += 1
            self._slots.add(asyncio.create_task(self._run_slot()))

    @property
    def queued(self) -> list[Job]:
        """The jobs that no actor has begun."""
        return [waiting.job for queue in self._queues.values() for waiting in queue]

    @property
    def running(self) -> list[Job]:
        """The jobs that actors run, or that wait for their actor to start."""
        return list(self._running.values())

    def stop(self, job: Job) -> None:
        """Stop a job: kill the actor that runs it, or remove it from its queue. Its :meth:`run` then raises."""
        if (actor := self._actor_of_job.get(id(job))) is not None:
            _stop(actor)
        for queue in self._queues.values():
            for waiting in [w for w in queue if w.job is job]:
                queue.remove(waiting)
                waiting.done.set_exception(GoodshotError("stopped before it began"))

    async def _run_slot(self) -> None:
        """Run queued jobs, one after another, until the slot has been idle for too long."""
        held: list[ActorHandle[Any]] = []
        self._starting -= 1
        try:
            await self._run_jobs(held)
        finally:
            # There is no await between finding the queues empty and this line, so a later job starts a new slot.
            self._slots.discard(asyncio.current_task())
            self._cpus_of_slot.pop(asyncio.current_task(), None)
            for actor in held:
                _stop(actor)

    async def _run_jobs(self, held: list[ActorHandle[Any]]) -> None:
        """Run the jobs of a slot. ``held`` is its actor, if it has one."""
        actor: ActorHandle[Any] | None = None
        home, node = "", ""
        while (queue := self._next_queue(home)) or await self._wait_for_job(actor):
            if not (queue := queue or self._next_queue(home)):
                continue
            if len(self._slots) > self._placement.slots(queue[0].job):
                return  # nodes were lost; the other slots run what is queued
            waiting = queue.pop(0)
            job = self._running[id(waiting)] = waiting.job
            try:
                keeps = waiting.home == home and not self._placement.leaves(node)
                if actor is None or not keeps or not self._placement.suits(actor, job):
                    _stop(actor)
                    held.clear()
                    actor, home, node = None, waiting.home, ""
                    actor = self._placement.start(job, self._near(home))
                    held.append(actor)
                    self._cpus_of_slot[asyncio.current_task()] = job.share.cpus * (1 + job.share.workers)
                self._actor_of_job[id(job)] = actor
                report: JobReport = await self._placement.run_in(actor, job)
                self._node_of_home[home] = node = report.node
                waiting.done.set_result(report)
            except Exception as error:
                waiting.done.set_exception(error)
                if isinstance(error, RayActorError) or isinstance(cause_of(error), NODE_IS_WRONG):
                    # The next job needs a new actor: this actor is dead, or its node gets no further job. An actor
                    # that only lost its connection may still run the job, which another actor runs again.
                    _stop(actor)
                    actor = None
                    held.clear()
            finally:
                self._actor_of_job.pop(id(job), None)
                self._running.pop(id(waiting), None)

    async def _wait_for_job(self, actor: ActorHandle[Any] | None) -> bool:
        """Wait for a job for an idle actor. Returns False if no job arrives in time, or other work needs its CPUs."""
        if actor is None:
            return False
        deadline = asyncio.get_running_loop().time() + self._linger_seconds
        self._idle_slots.add(asyncio.current_task())
        try:
            while asyncio.get_running_loop().time() < deadline and not self._placement.is_wanted():
                if any(self._queues.values()):
                    return True
                self._job_arrived.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._job_arrived.wait(), LOOK_SECONDS)
        finally:
            self._idle_slots.discard(asyncio.current_task())
        return any(self._queues.values())

    def _near(self, home: str) -> str | None:
        """Return the Ray id of the node that served this home before, unless that node takes no further jobs."""
        node = self._node_of_home.get(home)
        return None if node is None or self._placement.leaves(node) else node

    def _next_queue(self, home: str) -> list[Waiting] | None:
        """Return the queue of this home if it has jobs, else the queue with the most expected seconds; None if none."""
        if self._queues[home]:
            return self._queues[home]
        return max(self._queues.values(), key=lambda queue: sum(waiting.seconds for waiting in queue)) or None


def _stop(actor: ActorHandle[Any] | None) -> None:
    if actor is not None:
        ray.kill(actor)
