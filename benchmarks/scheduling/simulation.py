"""The real broker, pools and plan on simulated nodes."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any
from unittest import mock

from benchmarks.scheduling.clock import VirtualLoop
from benchmarks.scheduling.cluster import START_SECONDS, Cluster, Node, Place, Reference, Remote, Seconds
from goodshot.runner.cluster import broker as broker_module
from goodshot.runner.cluster import handles, leased, pool, stages, values
from goodshot.runner.cluster.broker import Broker, BrokerOptions
from goodshot.runner.cluster.elastic import Nodes
from goodshot.runner.cluster.worker import Job, JobReport
from goodshot.runner.plan.plan import Plan
from goodshot.runner.plan.scheduling import expected_seconds, longest_first
from goodshot.runner.results.tables import Tables
from goodshot.runner.stages.costs import Cost

LOAD_SECONDS = 3.0
"""To decode or embed the photographs of a category for all cells that read them."""


@dataclass(frozen=True)
class Outcome:
    """What a simulation took.

    seconds: the makespan. bound: max(work / capacity, longest chain), in seconds.
    cpu: the seconds of CPU of the broker and of the simulation itself, which are part of the makespan.
    """

    seconds: float
    bound: float
    work_bound: float
    chain: float
    utilisation: float
    cells: int
    trainings: int
    cpu: float
    losses: int


class _Store:
    """A store that knows what was made."""

    is_local = True

    def __init__(self, _: str = "") -> None:
        self.made: set[str] = set()

    def has(self, key: str) -> bool:
        return key in self.made

    def take_back_if_damaged(self, _: str) -> bool:
        return False


class _Results:
    """Results without files."""

    uri = "simulated"

    def __init__(self) -> None:
        self.tables, self.files = Tables.known(), SimpleNamespace(is_local=True)
        self.rows_of: set[str] = set()

    def rows(self, _: Sequence[str] = ()) -> dict[str, Any]:
        return {}

    def tries(self) -> dict[str, int]:
        return {}

    def has(self, fingerprint: str) -> bool:
        return fingerprint in self.rows_of

    def append_failure(self, *what: Any) -> None:
        raise AssertionError(f"a cell failed: {what}")


class _Leases:
    """Leases of a driver that is alone."""

    is_local = True

    def __init__(self, _: str) -> None:
        pass

    def take(self, _: str) -> bool:
        return True

    def release(self, _: str) -> None:
        pass

    def close(self) -> None:
        pass


class Actor:
    """A simulated :class:`StageActor`."""

    def __init__(self, world: World, options: Mapping[str, Any]) -> None:
        self._world = world
        self.place = asyncio.ensure_future(world.cluster.acquire(options["num_cpus"], options["num_gpus"]))
        self.run = Remote(lambda _, job, *__: world.reference(self._run(job)))

    async def _run(self, job: Job) -> JobReport:
        return await self._world.work_on(job, await asyncio.shield(self.place))

    def kill(self) -> None:
        """End it."""
        if self.place.done() and not self.place.cancelled() and self.place.exception() is None:
            self._world.cluster.release(self.place.result(), keeps_process=False)
        self.place.cancel()


class World:
    """The simulated part of a run."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.store, self.results = cluster, _Store(), _Results()
        self.broker: Broker | None = None

    def reference(self, running: Any) -> Reference:
        """Ray's reference to something that runs."""
        return Reference(asyncio.ensure_future(running))

    async def work_on(self, job: Job, place: Place) -> JobReport:
        """Run a job at a place, and keep what it makes."""
        report = await self.cluster.work_on(job, place, self._announce)
        self.store.made |= {stage.key for stage in job.wanted}
        if job.stage.key.startswith("cell/"):
            self.results.rows_of.add(job.stage.key.rpartition("/")[2])
        return report

    def _announce(self, id_: str) -> None:
        assert self.broker is not None
        self.store.made.add(id_)
        self.broker._stages.announce(id_)

    def task(self, options: Mapping[str, Any], job: Job, _: Any, __: Any, *needed: Any) -> Reference:
        """Run a job as a task."""
        return self.reference(self._task(options, job, needed))

    async def _task(self, options: Mapping[str, Any], job: Job, needed: Sequence[Any]) -> JobReport:
        await asyncio.gather(*needed)
        place = await self.cluster.acquire(options["num_cpus"], options["num_gpus"])
        try:
            return await self.work_on(job, place)
        finally:
            self.cluster.release(place)

    def load(self, options: Mapping[str, Any], *_: Any) -> Reference:
        """Load a shared value."""
        return self.reference(self._load(options))

    async def _load(self, options: Mapping[str, Any]) -> None:
        place = await self.cluster.acquire(options["num_cpus"], options["num_gpus"])
        try:
            await self.cluster.wait(place, LOAD_SECONDS / (place.node.gpu_speed if place.gpus else 1.0))
        finally:
            self.cluster.release(place)

    def cancel(self, reference: Any, **_: Any) -> None:
        """Cancel a task."""
        reference.running.cancel()


def simulate(
    plan: Plan,
    nodes: Sequence[Node],
    costs: Mapping[str, Cost] | None = None,
    losses_an_hour: float = 0.0,
    straggling: float = 0.0,
    seconds: Seconds | None = None,
    start: float = START_SECONDS,
) -> Outcome:
    """Run all cells of a plan.

    Args:
        costs: measured seconds, by kind of work, on a CPU or GPU of speed 1.
        losses_an_hour: how often a node is lost; another one joins after ten minutes.
        straggling: the share of jobs that take three times as long.
        seconds: how long a stage takes to make these products; by default as the costs say.
        start: the seconds that a process needs to start.
    """
    loop, known, began = VirtualLoop(), costs or {}, time.process_time()
    device = "cuda" if any(node.gpus for node in nodes) else "cpu"
    cluster = Cluster(nodes, seconds or (lambda stage, wanted: expected_seconds(stage, wanted, device, known)), start)
    cluster.straggling = straggling
    asyncio.set_event_loop(loop)
    try:
        found = loop.run_until_complete(_run(plan, cluster, known, losses_an_hour))
        # What waits for more work, such as idle slots.
        waiting = asyncio.all_tasks(loop)
        for task in waiting:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*waiting, return_exceptions=True))
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    return replace(found, cpu=time.process_time() - began)


async def _run(plan: Plan, cluster: Cluster, costs: Mapping[str, Cost], losses_an_hour: float) -> Outcome:
    loop, nodes, world = asyncio.get_running_loop(), cluster.nodes, World(cluster)
    with _simulated(world):
        resources = [node.resources for node in nodes]
        world.broker = broker = Broker(BrokerOptions("simulated", world.results, resources, costs=costs))  # type: ignore[arg-type]
        await broker.learn(plan)
        began = loop.time()
        losing = asyncio.ensure_future(_lose(cluster, broker, losses_an_hour)) if losses_an_hour else None
        outcomes = await broker.cells(longest_first(plan, plan.cells, broker.shares, costs))
        took = loop.time() - began
        if losing is not None:
            losing.cancel()
    assert all(outcome is not None for outcome in outcomes)
    work, chain = _bounds(plan, cluster, broker)
    capacity = sum(node.gpus for node in nodes) or sum(node.cpus for node in nodes)
    busy = cluster.busy_gpu_seconds if any(node.gpus for node in nodes) else cluster.busy_cpu_seconds
    return Outcome(
        seconds=took,
        bound=max(work, chain),
        work_bound=work,
        chain=chain,
        utilisation=busy / (took * capacity),
        cells=len(plan.cells),
        trainings=cluster.work.get("generator", (0, 0.0))[0],
        cpu=0.0,
        losses=len(broker._stages.node_losses),
    )


def _bounds(plan: Plan, cluster: Cluster, broker: Broker) -> tuple[float, float]:
    """The seconds of all work on all nodes, whichever of CPUs and GPUs takes longer, and of the longest chain."""
    nodes = cluster.nodes
    products = plan.products(plan.cells.values())
    cpu = gpu = 0.0
    longest: dict[str, float] = {}
    fastest = max((node.gpu_speed for node in nodes if node.gpus), default=1.0)

    def own(stage: Any) -> float:
        nonlocal cpu, gpu
        share = broker.shares.of(stage)
        wanted = [stage] if (stage.producer == stage.id and stage.is_artifact) or not products.get(stage.id) else None
        each = cluster.seconds(stage, wanted or products[stage.id])
        if share.gpus:
            gpu += each * share.gpus
        else:
            cpu += each * share.cpus
        return each / (fastest if share.gpus else 1.0)

    for id_, stage in plan.closure(i for cell in plan.cells.values() for i in cell.inputs).items():
        if stage.producer == id_:
            longest[id_] = own(stage) + max((longest[s.id] for s in plan.before(stage)), default=0.0)
        else:
            longest[id_] = max((longest[s.id] for s in plan.before(stage)), default=0.0) + 0.0
            longest[id_] = max(longest[id_], longest.get(stage.producer, 0.0))
    chain = 0.0
    for cell in plan.cells.values():
        chain = max(chain, own(cell) + max((longest[i] for i in cell.inputs), default=0.0))
    gpus = sum(node.gpus * node.gpu_speed for node in nodes)
    cpus = sum(node.cpus for node in nodes)
    return max(cpu / cpus, gpu / gpus if gpus else 0.0), chain


async def _lose(cluster: Cluster, broker: Broker, an_hour: float) -> None:
    """Lose nodes at random times, and let each join again after ten minutes."""
    draw = random.Random(1)  # noqa: S311
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(draw.expovariate(an_hour) * 3600)
        lost = draw.choice([node for node in cluster.nodes if node.lives] or cluster.nodes)
        cluster.lose(lost)
        _tell(cluster, broker)
        loop.call_later(600, lambda node=lost: (cluster.restore(node), _tell(cluster, broker)))


def _tell(cluster: Cluster, broker: Broker) -> None:
    alive = [node for node in cluster.nodes if node.lives]
    broker._adapt(Nodes([node.resources for node in alive], frozenset(node.name for node in alive)))


@contextmanager
def _simulated(world: World) -> Iterator[None]:
    """Put the simulated cluster, store and results where the real broker looks for Ray and for files."""
    fake = SimpleNamespace(
        put=lambda value: value,
        cancel=world.cancel,
        kill=lambda actor: actor.kill(),
        is_initialized=lambda: False,
        get_runtime_context=lambda: SimpleNamespace(get_actor_id=lambda: None),
    )
    nothing = SimpleNamespace(keep=lambda: None)
    with ExitStack() as stack:
        for module in (stages, values, leased, pool, broker_module, handles):
            stack.enter_context(mock.patch.object(module, "ray", fake))
        for module, name, instead in (
            (stages, "run_job", Remote(world.task)),
            (stages, "StageActor", Remote(lambda options, _: Actor(world, options))),
            (values, "load", Remote(world.load)),
            (leased, "Leases", _Leases),
            (leased.LeasedWork, "keep", lambda _: None),
            (broker_module, "Store", lambda _: world.store),
            (broker_module, "Compaction", lambda _: nothing),
            (asyncio, "to_thread", _at_once),
        ):
            stack.enter_context(mock.patch.object(module, name, instead))
        yield


async def _at_once(call: Any, *arguments: Any, **options: Any) -> Any:
    return call(*arguments, **options)
