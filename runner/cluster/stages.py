"""Makes the stages that cells stand on, each once: whoever asks for a stage that is under way waits for it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from runner.cells import CellStage
from runner.cluster.handles import Listener
from runner.cluster.leased import LeasedJob, LeasedWork, in_thread_unless_local
from runner.cluster.pool import ActorPool
from runner.cluster.values import SharedValues
from runner.cluster.worker import Job, JobReport, Locations, StageActor, run_job
from runner.declaration.resources import Resources
from runner.executor.progress import Progress
from runner.plan.plan import Plan
from runner.plan.scheduling import Share, Shares, expected_seconds
from runner.stages.base import Stage
from runner.stages.costs import Cost
from runner.store.artifacts import Store


class StageMaker:
    """Makes the stages of a plan that the store does not hold yet.

    A stage that failed stays failed for the run: the cells that stand on it fail at once.

    Args:
        shares: what a stage takes of a node.
        locations: where workers keep things, in Ray's object store.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        locations: Locations,
        shares: Shares,
        values: SharedValues,
        work: LeasedWork,
        progress: Progress,
        costs: Mapping[str, Cost],
    ) -> None:
        self.plan, self.store, self.shares, self.progress = plan, store, shares, progress
        self._locations = ray.put(locations)
        self._values, self._work, self._costs = values, work, costs
        self._pools: defaultdict[Resources, ActorPool] = defaultdict(lambda: ActorPool(self))
        """By what a study's stages take: an actor that was admitted for one share must not take up another."""
        self.cpus_of_tasks = 0.0
        """CPUs that the Ray tasks under way for stages and cells want."""
        self._running: dict[str, asyncio.Future[Any]] = {}
        self._wanted: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._in_store: set[str] = set()
        """Products that are in the store, as far as was looked: a look costs a request on an object store."""
        self._steps_announced: dict[str, int] = {}
        self._committed: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._held: WeakKeyDictionary[Any, Share] = WeakKeyDictionary()

    async def make_once(self, key: str, make: Callable[[], Awaitable[Any]]) -> Any:
        """What ``make`` returns, called once for a key."""
        if key not in self._running:
            self._running[key] = asyncio.ensure_future(make())
        return await asyncio.shield(self._running[key])

    def forget(self, key: str) -> None:
        """What was made is known elsewhere; it takes no place here any more."""
        self._running.pop(key, None)

    async def want(self, cells: Iterable[CellStage]) -> None:
        """These cells will be asked for: a training goes on to the furthest product among theirs, and no further."""
        fresh: dict[str, list[Stage]] = {}
        for producer, products in self.plan.products(cells).items():
            known = self._wanted[producer]
            fresh[producer] = [stage for stage in products if stage.id not in known and stage.id != producer]
            known.update(dict.fromkeys(stage.id for stage in fresh[producer]))
        await asyncio.gather(*(self._check_store(stage) for products in fresh.values() for stage in products))
        for producer in (producer for producer, products in fresh.items() if products):
            missing = [stage for stage in self._products(producer) if stage.id not in self._in_store]
            steps = self.plan.stages[producer].steps(missing)
            self.progress.steps_total += max(0, steps - self._steps_announced.get(producer, 0))
            self._steps_announced[producer] = max(steps, self._steps_announced.get(producer, 0))

    def announce(self, key: str) -> None:
        """A product is in the store, whose producer may go on."""
        self._in_store.add(key)
        self._committed[key].set()

    async def before(self, stage: Stage) -> None:
        """Make the stages that a stage stands on, in order."""
        for id_ in stage.inputs:
            await self.make(self.plan.stages[id_])

    async def make(self, stage: Stage) -> None:
        """Make one stage, and before it what it stands on, unless the store holds it."""
        if stage.producer != stage.id:
            await self._product(stage)
        else:
            await self.make_once(stage.id, lambda: self._make_directly(stage))

    async def run(self, stage: Stage, lease: LeasedJob, wanted: Iterable[Stage]) -> JobReport:
        """Run a stage under its lease: in the actor of its home, or as a Ray task."""
        job = Job(stage, tuple(wanted), self.shares.of(stage))
        if stage.home is not None:
            pool = self._pools[stage.resources]
            lease.stop = lambda: pool.stop(job)
            report = await pool.run(job)
        else:
            # As long as a task waits for a place, idle actors give theirs away.
            self.cpus_of_tasks += job.share.cpus
            try:
                task = run_job.options(num_cpus=job.share.cpus, num_gpus=job.share.gpus)
                report = await lease.task(task.remote(job, self._locations, *self._values.references(stage)))
            finally:
                self.cpus_of_tasks -= job.share.cpus
        self._account(stage, report)
        return report

    def _account(self, stage: Stage, report: JobReport) -> None:
        self.progress.executed[stage.kind] += 1
        for kind, cost in report.costs.items():
            self.progress.measured(kind, cost.seconds, cost.units)
        for kind, memory in report.memory.items():
            self.shares.measured(kind, memory)
            self.progress.memory[kind] = self.shares.memory[kind]

    async def _has(self, stage: Stage) -> bool:
        return await in_thread_unless_local(self.store.is_local, stage.is_made, self.store)

    async def _check_store(self, stage: Stage) -> None:
        if await self._has(stage):
            self._in_store.add(stage.id)

    def _products(self, producer: str) -> list[Stage]:
        """The products that are wanted of a producer by now."""
        return [self.plan.stages[id_] for id_ in self._wanted[producer]]

    async def _make_directly(self, stage: Stage) -> None:
        """A stage that makes its own artifact."""
        if await self._has(stage):
            return
        await asyncio.gather(*(self.make(each) for each in self.plan.before(stage)))
        await self._leased(stage, [stage], lambda: self._has(stage))

    async def _product(self, stage: Stage) -> None:
        """A product, as soon as it is there: its producer may go on to others.

        A producer that was under way before the product was wanted may stop short of it; then it is run again.
        """
        if stage.id in self._in_store:
            return
        for before in self.plan.before(stage):
            await self.make(before)
        producer = self.plan.producer(stage)
        while stage.id not in self._in_store:
            running = asyncio.ensure_future(self.make_once(producer.id, lambda: self._produce(producer)))
            committed = asyncio.ensure_future(self._committed[stage.id].wait())
            await asyncio.wait({running, committed}, return_when=asyncio.FIRST_COMPLETED)
            committed.cancel()
            # What was committed before its producer failed is good, though the message may still be on its way.
            if running.done() and (running.exception() is None or not await self._has(stage)):
                running.result()
            elif running.done():
                self._in_store.add(stage.id)
            running.cancel()

    async def _produce(self, producer: Stage) -> None:
        """Make all products that are wanted of a producer by now; when more are, it is run again."""
        products = []
        for product in self._products(producer.id):
            with suppress(Exception):  # the cells of that product meet the failure too, and record it
                for before in self.plan.before(product):
                    await self.make(before)
                products.append(product)

        async def all_made() -> bool:
            return all(await asyncio.gather(*map(self._has, products)))

        await self._leased(producer, products, all_made)
        self._in_store.update(product.id for product in products)
        del self._running[producer.id]

    async def _leased(self, stage: Stage, wanted: list[Stage], done: Callable[[], Awaitable[bool]]) -> None:
        async def make(lease: LeasedJob) -> None:
            await self.run(stage, lease, wanted)

        # A store that others only read has no place for leases.
        if not await done():
            await self._work.make(self._work.stages, stage.id, done, make)

    # How the pool's actors come to be, and when they have to go (`runner.cluster.pool.Placement`).

    def start(self, job: Job, node: str | None) -> Any:
        """A fresh actor with the stage's share of a node, where its home was before if there is room."""
        where = NodeAffinitySchedulingStrategy(node, soft=True, _spill_on_unavailable=True) if node else "DEFAULT"
        options = {"num_cpus": job.share.cpus, "num_gpus": job.share.gpus, "scheduling_strategy": where}
        actor = StageActor.options(**options).remote()
        self._held[actor] = job.share
        return actor

    def suits(self, actor: Any, job: Job) -> bool:
        """Whether the actor's share of a node is enough."""
        held = self._held[actor]
        return held.gpus >= job.share.gpus and held.cpus == job.share.cpus

    def slots(self, job: Job) -> int:
        """How many jobs like this run at once."""
        return self.shares.at_once(job.stage)

    def seconds(self, job: Job) -> float:
        """What the job is expected to take."""
        return expected_seconds(job.stage, job.wanted, job.share.device, {**self._costs, **self.progress.costs})

    def run_in(self, actor: Any, job: Job) -> Any:
        """A reference to the job's report, while the actor works on it."""
        listener = Listener(ray.get_runtime_context().current_actor)
        return actor.run.remote(job, self._locations, listener, *self._values.references(job.stage))

    def is_wanted(self) -> bool:
        """Whether more tasks and actors want a CPU than there are."""
        actors = sum(pool.cpus for pool in self._pools.values())
        return self.cpus_of_tasks + actors > sum(node.get("CPU", 0) for node in self.shares.nodes)
