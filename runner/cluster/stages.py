"""Make the stages that cells depend on, each once.

If a stage is already being made, later requests wait for that result.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import ray
from ray import ObjectRef
from ray.actor import ActorHandle
from ray.exceptions import RayActorError, TaskCancelledError, WorkerCrashedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from goodshot.components.errors import GoodshotError
from goodshot.runner.cells import CellStage
from goodshot.runner.cluster.elastic import nodes_now
from goodshot.runner.cluster.failures import Attempts, NeverRan, NoCuda, cause_of, reason_of
from goodshot.runner.cluster.handles import Gate, own_listener
from goodshot.runner.cluster.leased import LeasedJob, LeasedWork, in_thread_unless_local
from goodshot.runner.cluster.pool import ActorPool
from goodshot.runner.cluster.silence import Silence, StoodStill
from goodshot.runner.cluster.submissions import Submissions, Withdrawn
from goodshot.runner.cluster.values import SharedValues
from goodshot.runner.cluster.worker import Job, JobReport, Locations, StageActor, run_job
from goodshot.runner.declaration.resources import Resources
from goodshot.runner.executor.mending import DAMAGED, take_back_damaged
from goodshot.runner.executor.progress import Progress
from goodshot.runner.plan.plan import Plan
from goodshot.runner.plan.scheduling import Share, Shares, expected_seconds
from goodshot.runner.stages.base import Stage
from goodshot.runner.stages.costs import Cost
from goodshot.runner.store.artifacts import Store

SAMPLED_CELLS = 50
"""The number of cells from which the mean duration of a cell is estimated; a larger sample would take longer."""
START_SECONDS = 10.0
"""The seconds that a new process needs to start and to import libraries. No actor is ended for less work than that."""
TAKEN_BACK = (TaskCancelledError, WorkerCrashedError, RayActorError)
"""The exceptions that Ray raises for a task or an actor that was cancelled."""


class StageMaker:
    """Makes the stages of a plan that the store does not hold yet.

    A stage that raised an error is not tried again in the same run: all cells that depend on it fail at once. A stage
    whose node or process was lost is run again (:mod:`goodshot.runner.cluster.failures`).

    Args:
        locations: where workers read and write.
        shares: the CPUs and GPUs that each stage needs.
        values: the shared values that stages read.
        work: runs stages under leases.
        progress: the counts of the run, which this object updates.
        costs: the seconds that stages needed in earlier runs, by kind of work.
        silence: notices jobs that stand still.
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
        submissions: Submissions,
        silence: Silence,
    ) -> None:
        self.plan, self.store, self.shares, self.progress = plan, store, shares, progress
        self._locations = ray.put(locations)
        self._values, self._leased_work, self._costs, self._submissions = values, work, costs, submissions
        self._pools: defaultdict[Resources, ActorPool] = defaultdict(lambda: ActorPool(self))
        """One pool for each declaration of resources, which sets the CPUs and GPUs of an actor and the limits."""
        self.tasks: dict[str, tuple[float, float]] = {}
        """(requested CPUs, expected seconds) of each submitted Ray task, running or queued, by the id of its stage."""
        self._submitted: dict[str, Job] = {}
        self.node_losses: list[float] = []
        """The times, on the monotonic clock, at which the loss of a node was noticed."""
        self.leaving: frozenset[str] = frozenset()
        """Ray ids of the nodes that are being drained."""
        self.gate: Gate | None = None
        """The gate that is passed to each :class:`Job`; None if every node may run stages."""
        self.silence = silence
        self._taken_back: set[str] = set()
        """Ids of the stages whose artifacts were damaged, so that they are made once more."""
        self._futures: dict[str, asyncio.Future[Any]] = {}
        self._requested: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._in_store: set[str] = set()
        """Ids of products known to be in the store, because each look-up in an object store costs a request."""
        self._counted_steps: dict[str, int] = {}
        self._written_off: Counter[str] = Counter()
        self._committed: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._share_of_actor: WeakKeyDictionary[Any, Share] = WeakKeyDictionary()

    async def make_once(self, key: str, make: Callable[[], Awaitable[Any]]) -> Any:
        """Call ``make`` once for a key, and return its result to every caller that passes this key."""
        if key not in self._futures:
            self._futures[key] = asyncio.ensure_future(make())
        return await asyncio.shield(self._futures[key])

    def forget(self, key: str) -> None:
        """Forget the result of :meth:`make_once`, to free its memory once it is kept elsewhere."""
        self._futures.pop(key, None)

    async def want(self, cells: Iterable[CellStage]) -> None:
        """Request the products that these cells need. A training ends at the last requested product."""
        new: dict[str, list[Stage]] = {}
        products_of = self.plan.products(cells)
        for producer, products in products_of.items():
            requested = self._requested[producer]
            new[producer] = [stage for stage in products if stage.id not in requested and stage.id != producer]
            requested.update(dict.fromkeys(stage.id for stage in new[producer]))
        await asyncio.gather(*(self._check_store(stage) for products in new.values() for stage in products))
        for producer in (producer for producer, products in new.items() if products):
            missing = [stage for stage in self._products(producer) if stage.id not in self._in_store]
            steps = self.plan.stages[producer].steps(missing)
            # Steps that a lost broker process has counted are part of the total already.
            counted = self._counted_steps.get(producer, self.progress.steps_of.get(producer, 0))
            self.progress.steps_total += max(0, steps - counted)
            self._counted_steps[producer] = max(steps, counted)
        await asyncio.gather(*(self._count_own(self.plan.stages[id_]) for id_ in products_of))

    async def _count_own(self, stage: Stage) -> None:
        """Count the steps of a training that is an artifact itself, such as the training of a diffusion base."""
        steps = stage.steps([stage])
        if not steps or stage.id in self._counted_steps:
            return
        self._counted_steps[stage.id] = steps
        if not await asyncio.to_thread(stage.is_made, self.store):
            self.progress.steps_total += max(0, steps - self.progress.steps_of.get(stage.id, 0))

    def announce(self, key: str) -> None:
        """Note that a product is committed; the stage that produces it may continue."""
        self._in_store.add(key)
        self._committed[key].set()

    async def take_back_damaged(self, cell: CellStage) -> bool:
        """Forget what is known of a failed cell's artifacts that turn out to be damaged, so that they are made anew.

        Returns whether there were any, here or found by another cell meanwhile.
        """
        damaged = await asyncio.to_thread(take_back_damaged, self.plan, self.store, cell)
        for stage in damaged:
            self._in_store.discard(stage.id)
            self._committed.pop(stage.id, None)
            self._futures.pop(stage.id, None)
            self._taken_back.add(stage.id)
            producer = self.plan.producer(stage)
            if producer is not stage:
                self._requested[producer.id].setdefault(stage.id)
        if damaged:
            self.progress.retries[DAMAGED] += 1
        self._values.forget(cell)
        return self.has_taken_back(cell)

    def has_taken_back(self, cell: CellStage) -> bool:
        """Return whether an artifact that a cell depends on was taken back, so that it may not be made again yet."""
        return bool(self._taken_back) and bool(self._taken_back & self.plan.closure(cell.inputs).keys())

    async def before(self, stage: Stage) -> None:
        """Make the inputs of a stage, in order."""
        for id_ in stage.inputs:
            await self.make(self.plan.stages[id_])

    async def make(self, stage: Stage) -> None:
        """Make one stage, after the stages that it depends on, unless the store holds it."""
        if stage.producer != stage.id:
            await self._await_product(stage)
        else:
            await self.make_once(stage.id, lambda: self._make_directly(stage))

    async def run(self, stage: Stage, lease: LeasedJob, wanted: Iterable[Stage]) -> JobReport:
        """Run a stage under its lease: in an actor of the pool if it has a home, otherwise as a Ray task."""
        attempts = Attempts(self.node_losses)
        try:
            report = await self._run_until_not_lost(stage, lease, tuple(wanted), attempts)
        finally:
            self.progress.retries.update(attempts.reasons)
        self._account(stage, report)
        return report

    async def _run_until_not_lost(
        self, stage: Stage, lease: LeasedJob, products: tuple[Stage, ...], attempts: Attempts
    ) -> JobReport:
        while True:
            try:
                share = self.shares.of(stage)
                if attempts.needs_whole_gpu:
                    share = replace(share, gpus=max(1.0, share.gpus))
                return await self._run_once(Job(stage, products, share, self.gate, self._submissions.job()), lease)
            except Withdrawn:
                continue
            except Exception as error:
                if lease.is_stopped:
                    raise
                if isinstance(cause := cause_of(error), NoCuda):
                    await self._exclude(cause, share)
                attempts.lost(error)
                self._values.forget(stage)
                await asyncio.sleep(attempts.pause)
                if lease.is_stopped:
                    raise

    async def _exclude(self, error: NoCuda, share: Share) -> None:
        """Give no more stages to a node without CUDA. Raises ``error`` if no other node has room for ``share``."""
        self.shares.excluded |= {error.node}
        self.shares.nodes[:] = (
            await asyncio.to_thread(nodes_now, self.shares.excluded | self.shares.unchecked)
        ).resources
        if not share.fits(self.shares.nodes):
            raise error

    async def _run_once(self, job: Job, lease: LeasedJob) -> JobReport:
        """Run a job in an actor or a task.

        Raises:
            Withdrawn: the job was cancelled before it began.
            NeverRan: the job failed before the gate let it begin; its node may not have been checked yet.
        """
        self.silence.expect(job.ticket, job.stage.resources.silence_seconds)
        try:
            report = await self._run_submitted(job, lease)
        except Exception as error:
            if (silent := self.silence.ended(job.ticket)) is not None and reason_of(error) is not None:
                self._submissions.ended(job.ticket)
                raise StoodStill(f"gave no sign of life for {silent:.0f} s, and its process was killed") from error
            cause, has_passed = cause_of(error), self._submissions.has_passed(job.ticket)
            if self._submissions.ended(job.ticket) and isinstance(cause, TAKEN_BACK) and not lease.is_stopped:
                raise Withdrawn from None
            is_own = reason_of(error) is None and not isinstance(cause, GoodshotError)
            if is_own and self.gate is not None and not has_passed:
                raise NeverRan(error) from error
            raise
        self.silence.ended(job.ticket)
        self._submissions.ended(job.ticket)
        return report

    async def _run_submitted(self, job: Job, lease: LeasedJob) -> JobReport:
        stage = job.stage
        if stage.home is not None:
            pool = self._pools[stage.resources]
            lease.cancel = lambda: pool.stop(job)
            return await pool.run(job)
        self.tasks[stage.id] = job.share.cpus, self.seconds(job)
        self._submitted[stage.id] = job
        try:
            task = run_job.options(name=job.label, **job.share.options, **self.shares.placement)
            values = self._values.references(stage, job.label)
            reference = task.remote(job, self._locations, own_listener(), *values)
            self._submissions.wait(job.ticket, self.shares.unchecked, partial(ray.cancel, reference, force=True))
            report: JobReport = await lease.task(reference)
            return report
        finally:
            self.tasks.pop(stage.id, None)
            self._submitted.pop(stage.id, None)

    def fill(self) -> None:
        """Give queued stages to nodes that were added."""
        for pool in self._pools.values():
            pool.fill()

    def counts(self) -> tuple[Counter[str], Counter[str]]:
        """Return the numbers of running stages and of stages that wait for a CPU or GPU, by kind.

        Ray is not asked which tasks have begun. The oldest tasks count as running, as many as fit on the CPUs that the
        actors leave free.
        """
        running: Counter[str] = Counter()
        queued: Counter[str] = Counter()
        for pool in self._pools.values():
            running.update(job.stage.kind for job in pool.running)
            queued.update(job.stage.kind for job in pool.queued)
        free = sum(node.get("CPU", 0) for node in self.shares.nodes) - sum(pool.cpus for pool in self._pools.values())
        for job in self._submitted.values():
            (running if job.share.cpus <= free else queued)[job.stage.kind] += 1
            free -= job.share.cpus
        return running, queued

    def mean_seconds(self, cells: Sequence[CellStage]) -> float:
        """Return the expected mean seconds of these cells, from measured costs; 0 if ``cells`` is empty."""
        sample = cells[:: max(1, len(cells) // SAMPLED_CELLS)]
        costs = {**self._costs, **self.progress.costs}
        seconds = [expected_seconds(cell, [cell], self.shares.of(cell).device, costs) for cell in sample]
        return sum(seconds) / max(1, len(seconds))

    def needed(self) -> list[Share]:
        """Return the shares of all stages that run, or would run on more nodes; the longest trainings come first."""
        shares = []
        for resources, pool in self._pools.items():
            jobs = [*pool.running, *pool.queued]
            shares += [self.shares.of(job.stage) for job in jobs[: resources.generators]]
        return [*shares, *(job.share for job in self._submitted.values())]

    def _account(self, stage: Stage, report: JobReport) -> None:
        self.progress.executed[stage.kind] += 1
        for kind, cost in report.costs.items():
            self.progress.measured(kind, cost.seconds, cost.units, cost.takes)
        for kind, memory in report.memory.items():
            self.shares.measured(kind, memory)
            self.progress.memory[kind] = self.shares.memory[kind]

    async def _has(self, stage: Stage) -> bool:
        return await in_thread_unless_local(self.store.is_local, stage.is_made, self.store)

    async def _check_store(self, stage: Stage) -> None:
        if await self._has(stage):
            self._in_store.add(stage.id)

    def _products(self, producer: str) -> list[Stage]:
        """Return the products that have been requested from a producer so far."""
        return [self.plan.stages[id_] for id_ in self._requested[producer]]

    async def _make_directly(self, stage: Stage) -> None:
        """Make a stage that is its own producer."""
        if await self._has(stage):
            return
        await asyncio.gather(*(self.make(input_) for input_ in self.plan.before(stage)))
        await self._run_leased(stage, [stage], lambda: self._has(stage))

    async def _await_product(self, stage: Stage) -> None:
        """Run a product's producer and wait until the product is committed; the producer may continue with others.

        A producer that was started before this product was requested may end without it; then it is run again.
        """
        if stage.id in self._in_store:
            return
        for input_ in self.plan.before(stage):
            await self.make(input_)
        producer = self.plan.producer(stage)
        while stage.id not in self._in_store:
            running = asyncio.ensure_future(self.make_once(producer.id, lambda: self._produce(producer)))
            committed = asyncio.ensure_future(self._committed[stage.id].wait())
            await asyncio.wait({running, committed}, return_when=asyncio.FIRST_COMPLETED)
            committed.cancel()
            # A product that was committed before its producer failed is valid; its announcement may arrive later.
            if running.done() and (running.exception() is None or not await self._has(stage)):
                running.result()
            elif running.done():
                self._in_store.add(stage.id)
            running.cancel()

    async def _produce(self, producer: Stage) -> None:
        """Run a producer for all products requested so far. If more are requested later, it is run again."""
        products = []
        for product in self._products(producer.id):
            with suppress(Exception):  # the cells that need this product fail with the same error, and record it
                for input_ in self.plan.before(product):
                    await self.make(input_)
                products.append(product)

        async def all_made() -> bool:
            return all(await asyncio.gather(*map(self._has, products)))

        await self._run_leased(producer, products, all_made)
        self._in_store.update(product.id for product in products)
        self._write_off(producer)
        del self._futures[producer.id]

    def _write_off(self, producer: Stage) -> None:
        """Subtract from the total the steps that need not be run any more, because another run has executed them."""
        left = self._counted_steps.get(producer.id, 0) - self.progress.steps_of.get(producer.id, 0)
        self.progress.steps_total -= left - self._written_off[producer.id]
        self._written_off[producer.id] = left

    async def _run_leased(self, stage: Stage, wanted: list[Stage], done: Callable[[], Awaitable[bool]]) -> None:
        async def make(lease: LeasedJob) -> None:
            await self.run(stage, lease, wanted)

        # No lease is taken if all products exist, because the store may be read-only.
        if not await done():
            await self._leased_work.make(self._leased_work.stages, stage.id, done, make)

    # The following methods implement the protocol `goodshot.runner.cluster.pool.Placement`.

    def start(self, job: Job, node: str | None) -> ActorHandle[StageActor]:
        """Start an actor that reserves the job's CPUs and GPUs, on the node with this Ray id if it has room."""
        strategy = NodeAffinitySchedulingStrategy(node, soft=True, _spill_on_unavailable=True) if node else "DEFAULT"
        options = {**job.share.options, **self.shares.placement, "scheduling_strategy": strategy}
        made = StageActor.options(**options)  # type: ignore[attr-defined]  # for Ray's decorator returns the class
        actor: ActorHandle[StageActor] = made.remote(job.label)
        self._share_of_actor[actor] = job.share
        self._submissions.wait(job.ticket, self.shares.unchecked, partial(self._pools[job.stage.resources].stop, job))
        return actor

    def leaves(self, node: str) -> bool:
        """Return whether the node with this Ray id is drained or excluded, so that its actors take no further job."""
        return node in self.leaving or node in self.shares.excluded

    def suits(self, actor: ActorHandle[Any], job: Job) -> bool:
        """Return whether the actor reserves the job's number of CPUs and type of GPU, and at least its GPU share."""
        own, needed = self._share_of_actor[actor], job.share
        return own.gpus >= needed.gpus and (own.cpus, own.accelerator) == (needed.cpus, needed.accelerator)

    def slots(self, job: Job) -> int:
        """Return the number of jobs like this one that may run at once."""
        return self.shares.at_once(job.stage)

    def seconds(self, job: Job) -> float:
        """Return the expected duration of the job in seconds."""
        return expected_seconds(job.stage, job.wanted, job.share.device, {**self._costs, **self.progress.costs})

    def run_in(self, actor: ActorHandle[Any], job: Job) -> ObjectRef[JobReport]:
        """Start the job in an actor. Returns a Ray reference to its report."""
        # The actor itself may have run other jobs, so only the loads of this job's values may be cancelled.
        self._submissions.wait(job.ticket, self.shares.unchecked, lambda: None)
        run: Any = actor.run.options(name=job.label)
        report: ObjectRef[JobReport] = run.remote(
            job, self._locations, own_listener(), *self._values.references(job.stage, job.label)
        )
        return report

    def is_wanted(self) -> bool:
        """Return whether actors block a task, or make tasks wait longer than a new process needs to start."""
        cpus = sum(node.get("CPU", 0) for node in self.shares.nodes)
        free = cpus - sum(pool.cpus for pool in self._pools.values())
        requested = [cpus_of_task for cpus_of_task, _ in self.tasks.values()]
        if sum(requested) <= free:
            return False
        seconds = sum(cpus_of_task * seconds for cpus_of_task, seconds in self.tasks.values())
        return max(requested, default=0) > free or free <= 0 or seconds / free > START_SECONDS
