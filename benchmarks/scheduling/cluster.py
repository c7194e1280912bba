"""Nodes, tasks and actors, as far as a scheduler sees them: what is asked of Ray, and when it is done.

A request for CPUs and GPUs goes to the node with the most free room for it, the oldest request of a shape first. A
process needs some seconds to start unless one is idle on the node. A fraction of a GPU lies on one GPU.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ray.exceptions import NodeDiedError, TaskCancelledError

from goodshot.runner.cluster.worker import Job, JobReport
from goodshot.runner.stages.base import Stage

START_SECONDS = 8.0
"""A process that imports torch; measured on two CPUs."""
ENOUGH = 1e-9

Seconds = Callable[[Stage, Sequence[Stage]], float]
"""How long a stage takes to make these products."""


@dataclass(eq=False)
class Node:
    """A node: its type, CPUs, GPUs, and how much faster than the measured machine it is on each."""

    name: str
    cpus: float
    gpus: int
    gpu_speed: float = 1.0
    free_cpus: float = 0.0
    free_gpus: list[float] = field(default_factory=list)
    idle_processes: int = 0
    lives: bool = True

    def __post_init__(self) -> None:
        self.free_cpus, self.free_gpus = self.cpus, [1.0] * self.gpus
        self._note()

    def _note(self) -> None:
        """Sum up the free GPUs once for each change: every request looks at every node."""
        self._left, self._most = sum(self.free_gpus), max(self.free_gpus, default=0.0)

    @property
    def resources(self) -> dict[str, float]:
        """What Ray says that the node has."""
        return {"CPU": self.cpus, **({"GPU": float(self.gpus)} if self.gpus else {})}

    def room(self, cpus: float, gpus: float) -> float:
        """How much would be left, as a share of the node; below 0 if the request does not fit."""
        if not self.lives or self.free_cpus + ENOUGH < cpus:
            return -1.0
        if not gpus:
            # What needs no GPU goes where none is taken up by it.
            return (self.free_cpus - cpus) / self.cpus + (0 if self.gpus else 1)
        if self._most + ENOUGH < min(gpus, 1.0):
            return -1.0
        fits = gpus <= 1 or sum(free + ENOUGH >= 1 for free in self.free_gpus) >= gpus
        return 1 + self._left / self.gpus if fits else -1.0

    def take(self, cpus: float, gpus: float) -> list[int]:
        """Take CPUs and GPUs; returns the indices of the GPUs."""
        self.free_cpus -= cpus
        share, count = min(gpus, 1.0), max(1, int(gpus)) if gpus else 0
        # The fullest GPU that has room, so that fractions fill GPUs.
        order = sorted(range(self.gpus), key=lambda i: self.free_gpus[i])
        taken = [i for i in order if self.free_gpus[i] + ENOUGH >= share][:count]
        for i in taken:
            self.free_gpus[i] -= share
        self._note()
        return taken

    def give_back(self, cpus: float, gpus: float, taken: list[int]) -> None:
        """Give CPUs and GPUs back."""
        self.free_cpus += cpus
        for i in taken:
            self.free_gpus[i] += min(gpus, 1.0)
        self._note()


@dataclass(eq=False)
class Place:
    """CPUs and GPUs of a node that a task or actor has."""

    node: Node
    cpus: float
    gpus: float
    taken: list[int]
    lost: asyncio.Event = field(default_factory=asyncio.Event)


class Cluster:
    """The nodes, and the requests that wait for room.

    seconds: the seconds of a stage on the measured machine, for the products that it is to make.
    start: the seconds that a process needs to start.
    straggling: the share of jobs that take three times as long.
    """

    def __init__(self, nodes: Iterable[Node], seconds: Seconds, start: float = START_SECONDS) -> None:
        self.nodes, self.seconds, self._start = list(nodes), seconds, start
        self.straggling = 0.0
        self._draw = random.Random(0)  # noqa: S311
        self._waiting: defaultdict[tuple[float, float], deque[asyncio.Future[Place]]] = defaultdict(deque)
        self._places: set[Place] = set()
        self.busy_gpu_seconds = self.busy_cpu_seconds = 0.0
        self.lost_seconds = 0.0
        self.work: dict[str, tuple[int, float]] = {}

    async def acquire(self, cpus: float, gpus: float) -> Place:
        """Wait for room, and for a process to start."""
        loop = asyncio.get_running_loop()
        asked = loop.create_future()
        self._waiting[cpus, gpus].append(asked)
        self.place()
        try:
            place: Place = await asked
        except asyncio.CancelledError:
            if asked.done() and not asked.cancelled():
                self.release(asked.result())
            raise
        if place.node.idle_processes:
            place.node.idle_processes -= 1
        else:
            await self.wait(place, self._start)
        return place

    def release(self, place: Place, keeps_process: bool = True) -> None:
        """Give a place back."""
        if place in self._places:
            self._places.discard(place)
            place.node.give_back(place.cpus, place.gpus, place.taken)
            place.node.idle_processes += keeps_process
            self.place()

    def place(self) -> None:
        """Give free room to waiting requests."""
        for (cpus, gpus), waiting in self._waiting.items():
            while waiting:
                if waiting[0].done():
                    waiting.popleft()
                    continue
                node = max(self.nodes, key=lambda node: node.room(cpus, gpus))
                if node.room(cpus, gpus) < 0:
                    break
                place = Place(node, cpus, gpus, node.take(cpus, gpus))
                self._places.add(place)
                waiting.popleft().set_result(place)

    async def wait(self, place: Place, seconds: float) -> None:
        """Let time pass at a place. Raises NodeDiedError if its node is lost meanwhile."""
        lost = asyncio.ensure_future(place.lost.wait())
        try:
            await asyncio.wait({lost}, timeout=seconds)
        finally:
            lost.cancel()
        if place.lost.is_set():
            raise NodeDiedError("the node has died")

    async def work_on(self, job: Job, place: Place, announce: Callable[[str], None]) -> JobReport:
        """Run a job: announce its image sets as they are made, and report it."""
        speed = place.node.gpu_speed if place.gpus else 1.0
        seconds = self.seconds(job.stage, job.wanted) / speed * (3.0 if self._draw.random() < self.straggling else 1.0)
        began = asyncio.get_running_loop().time()
        sets = sorted((s for s in job.wanted if hasattr(s, "iterations")), key=lambda s: s.iterations)
        last = max((s.iterations for s in sets), default=1)
        passed = 0.0
        try:
            for number, made in enumerate(sets):
                at = seconds * made.iterations / last
                if at > passed:
                    await self.wait(place, at - passed)
                    passed = at
                if number + 1 < len(sets):
                    announce(made.id)
            if not sets:
                await self.wait(place, seconds)
        finally:
            took = asyncio.get_running_loop().time() - began
            self.busy_gpu_seconds += took * place.gpus
            self.busy_cpu_seconds += took * place.cpus
        count, total = self.work.get(job.stage.kind, (0, 0.0))
        self.work[job.stage.kind] = count + 1, total + seconds
        return JobReport(place.node.name, seconds, outcome={"arm": "", "category": ""})

    def lose(self, node: Node) -> None:
        """Lose a node with all that runs on it."""
        node.lives = False
        for place in [place for place in self._places if place.node is node]:
            place.lost.set()
            self._places.discard(place)
        node.__post_init__()
        node.idle_processes = 0

    def restore(self, node: Node) -> None:
        """Let a node join again."""
        node.lives = True
        self.place()


class Reference(asyncio.Future[Any]):
    """Ray's reference to a result: awaited for the result, and cancelled with its task."""

    def __init__(self, running: asyncio.Task[Any]) -> None:
        super().__init__(loop=running.get_loop())
        self.running = running
        running.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[Any]) -> None:
        if self.done():
            return
        if task.cancelled():
            self.set_exception(TaskCancelledError())
        elif error := task.exception():
            self.set_exception(error)
        else:
            self.set_result(task.result())
        self.exception()  # marked as seen: not everybody awaits it


class Remote:
    """What ``.options(…).remote(…)`` of a Ray task, actor class or method does here."""

    def __init__(self, call: Callable[..., Any], options: Mapping[str, Any] | None = None) -> None:
        self._call, self._options = call, dict(options or {})

    def options(self, **options: Any) -> Remote:
        """The same with options."""
        return Remote(self._call, {**self._options, **options})

    def remote(self, *arguments: Any) -> Any:
        """Call it."""
        return self._call(self._options, *arguments)
