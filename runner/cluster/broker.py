"""The broker runs each requested cell once, however many trials and studies request it."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayTaskError

from goodshot.components.errors import GoodshotError
from goodshot.runner.cells import CellStage
from goodshot.runner.cluster.admission import Admission
from goodshot.runner.cluster.elastic import REFRESH_SECONDS, Autoscaler, Nodes, is_autoscaled, nodes_now
from goodshot.runner.cluster.handles import Gate
from goodshot.runner.cluster.leased import LeasedJob, LeasedWork, in_thread_unless_local
from goodshot.runner.cluster.metrics import RunMetrics
from goodshot.runner.cluster.placing import on_own_node
from goodshot.runner.cluster.silence import Pulse, Silence, kill
from goodshot.runner.cluster.stages import StageMaker
from goodshot.runner.cluster.submissions import Submissions
from goodshot.runner.cluster.values import SharedValues
from goodshot.runner.cluster.worker import Locations
from goodshot.runner.executor.failures import record_failure
from goodshot.runner.executor.progress import Progress
from goodshot.runner.plan.plan import Plan, Trial
from goodshot.runner.plan.scheduling import Share, Shares
from goodshot.runner.results.compaction import LAST_SECONDS, Compaction
from goodshot.runner.results.results import Results
from goodshot.runner.stages.base import Stage
from goodshot.runner.stages.costs import Cost, Memories
from goodshot.runner.store.artifacts import Store

MENDINGS = 3
"""How often a cell is run again because an artifact that it depends on was damaged."""
LIVES = 4
"""How often the broker is started in a run; a process that is lost more often probably causes its own loss."""

T = TypeVar("T")
P = ParamSpec("P")
Call = Callable[Concatenate["Broker", P], Coroutine[Any, Any, T]]


_without_task_events = ray.method(enable_task_events=False)
"""Decorator for methods that are called every second; it keeps them out of the list of tasks in Ray's dashboard."""


def _when_restored(method: Call[P, T]) -> Call[P, T]:
    """Decorate a method so that a restarted broker runs it only after the driver has called ``restore``."""

    @wraps(method)
    async def wrapped(self: Broker, /, *arguments: P.args, **options: P.kwargs) -> T:
        await self.restored.wait()
        return await method(self, *arguments, **options)

    return wrapped


@dataclass(frozen=True)
class BrokerOptions:
    """The arguments of a :class:`Broker`.

    They are small, because Ray cannot start a lost actor again whose arguments were too large for a message. The plan
    is sent by :meth:`Broker.learn` and :meth:`Broker.restore`.

    nodes: the numbers of ``CPU`` and ``GPU`` of each node.
    excluded: Ray ids of further nodes, which must get no work.
    checked: Ray ids of the checked nodes; all other nodes get work after :meth:`Broker.admit`. None: all get work.
    fail_fast: whether the first failed cell ends the run.
    skipped: fingerprints of cells that are not run; like a failed cell, a skipped cell has the outcome None.
    costs, memory: the seconds and GPU memory that stages needed on this machine, by kind of work.
    """

    store_uri: str
    results: Results
    nodes: list[dict[str, float]]
    fail_fast: bool = False
    skipped: frozenset[str] = frozenset()
    costs: Mapping[str, Cost] = field(default_factory=dict)
    memory: Memories = field(default_factory=dict)
    excluded: frozenset[str] = frozenset()
    checked: frozenset[str] | None = None


class Broker:
    """Runs each requested cell once, after a :class:`StageMaker` has made the stages that the cell depends on.

    If the broker's process is lost, Ray starts it again and repeats all unanswered calls. The restarted broker reads
    finished work from the results and the store. The driver sends it the other state by :meth:`restore`, and the
    repeated calls wait for that.
    """

    def __init__(self, options: BrokerOptions) -> None:
        self.plan, self.results = Plan(), options.results
        self._fail_fast, self._halted, self._skipped = options.fail_fast, False, options.skipped
        self.outcomes: dict[str, Mapping[str, Any]] = dict(self.results.rows(self.results.tables.outcome))
        self._failed_before = set(self.results.tries())
        self.progress = Progress()
        self.shares = Shares(options.nodes, dict(options.memory), options.excluded)
        self._checked, self._admitting = options.checked, asyncio.Event()
        store = Store(options.store_uri)
        self._submissions = Submissions()
        silence = Silence()
        self._values = SharedValues(options.store_uri, self.shares, self._submissions, silence)
        self._leased_work = LeasedWork(options.store_uri, self.results.uri)
        self._compaction = Compaction(self.results)
        locations = Locations(options.store_uri, self.results)
        self._stages = StageMaker(
            self.plan, store, locations, self.shares, self._values, self._leased_work, self.progress, options.costs,
            self._submissions, silence,
        )  # fmt: skip
        self._requested: set[str] = set()
        self._trials: defaultdict[str, asyncio.Future[Mapping[int, tuple[str, ...]]]] = defaultdict(asyncio.Future)
        self._admissions: dict[tuple[Any, ...], Admission] = {}
        self._alive: frozenset[str] = frozenset()
        self._following: asyncio.Task[None] | None = None
        self.restored = asyncio.Event()
        if _was_lost():
            self.progress.is_lost = True
        else:
            self.restored.set()

    async def restore(self, plan: Plan, trials: Sequence[Trial], progress: Progress) -> None:
        """Continue from the state of a lost process of this broker.

        Args:
            plan: all cells and stages that the lost process had in its plan.
            trials: the trials that Ray Tune has begun.
            progress: the last known counts of the lost process.
        """
        if self.restored.is_set():
            return
        self.plan.merge(plan)
        # Other objects hold a reference to this Progress object, so it is updated in place.
        vars(self.progress).update(vars(progress.continued()))
        for trial in trials:
            self._publish(trial)
        self.restored.set()

    @_when_restored
    async def run(self, fingerprints: list[str]) -> int:
        """Run these cells, in parallel as far as resources allow. Returns the number of failed and skipped cells."""
        return sum(row is None for row in await self.cells(fingerprints))

    @_when_restored
    async def cells(self, fingerprints: list[str]) -> list[Mapping[str, Any] | None]:
        """Return the outcomes of cells, in order; None for a cell that failed or is skipped.

        A cell that has a row is not run again. If a cell is already running, its outcome is waited for.
        """
        self._leased_work.keep()
        self._compaction.keep()
        if self._checked is not None:
            self._stages.gate = self._values.gate = Gate(ray.get_runtime_context().current_actor)
        if self._following is None and ray.is_initialized():
            self._following = asyncio.create_task(self._follow_cluster())
        new = [f for f in fingerprints if not (f in self.outcomes or f in self._requested or f in self._skipped)]
        planned = [self.plan.cells[f] for f in new]
        self._requested.update(new)
        self.progress.cells_total += len(new)
        self.progress.cell_guess = self._stages.mean_seconds(planned) or self.progress.cell_guess
        self._values.expect(planned)
        await self._stages.want(planned)
        await self._run_groups(planned)
        return [await self._cell(f) for f in fingerprints]

    async def admit(self, checked: frozenset[str], faulty: frozenset[str]) -> None:
        """Give work to the ``checked`` nodes, except the ``faulty`` ones, from the next poll of the cluster on."""
        self._checked = checked
        self.shares.excluded |= faulty
        self._admitting.set()
        self._admitting.clear()

    @_without_task_events
    async def may_run(self, node: str, ticket: str) -> bool:
        """Wait until the node with this Ray id has been checked; return whether it may run the job of this ticket."""
        self._submissions.began(ticket)
        while self._checked is not None and node not in self._checked:
            await self._admitting.wait()
        if node in self.shares.excluded:
            return False
        self._submissions.passed(ticket)
        return True

    @_when_restored
    async def learn(self, part: Plan) -> None:
        """Add cells and stages to the plan: those of the run, or of a point that a search has just chosen."""
        self.plan.merge(part)

    @_without_task_events
    @_when_restored
    async def at_once(self, stages: Sequence[Stage]) -> int:
        """Return how many of these stages run at once on the nodes that the cluster has now; at least one."""
        return min((self.shares.at_once(stage) for stage in stages), default=1)

    @_when_restored
    async def begin(self, trial: Trial) -> None:
        """Publish the cells of a trial that Ray Tune has begun, for :meth:`trial`."""
        self._publish(trial)

    def _publish(self, trial: Trial) -> None:
        if self._trials[trial.key].done():
            self._trials[trial.key] = asyncio.get_running_loop().create_future()
        self._trials[trial.key].set_result(trial.cells)

    @_when_restored
    async def trial(self, key: str) -> Mapping[int, tuple[str, ...]]:
        """Wait for :meth:`begin`, and return the fingerprints of the trial's cells by L; empty for an invalid point."""
        return await asyncio.shield(self._trials[key])

    @_without_task_events
    @_when_restored
    async def stepped(self, stage: str, steps: int, seconds: float) -> None:
        """Count training steps. Stages call this during training, so that the steps of a failed training count too."""
        self.progress.stepped(stage, steps, seconds)

    @_without_task_events
    async def pulse(self, pulse: Pulse) -> None:
        """Note that a stage lives."""
        self._stages.silence.heard(pulse)

    @_without_task_events
    @_when_restored
    async def announce(self, key: str) -> None:
        """Note that a running stage has committed an artifact, so that cells that need only this artifact can run."""
        self._stages.announce(key)

    @_without_task_events
    async def snapshot(self) -> Progress:
        """Return the progress of the run."""
        return self._counted()

    def _counted(self) -> Progress:
        running, self.progress.queued = self._stages.counts()
        self.progress.running = running
        self.progress.most_at_once = max(self.progress.most_at_once, running.total())
        self.progress.awaited = self._leased_work.awaited_stages + self._leased_work.awaited_cells
        return self.progress

    async def close(self) -> None:
        """Release all leases and end the compaction of results; jobs in progress are abandoned."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        await self._leased_work.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._compaction.end(), LAST_SECONDS)

    async def _follow_cluster(self) -> None:
        """Adapt shares, slots and limits to the current nodes, and ask an autoscaler for the nodes the queue needs."""
        autoscaler = Autoscaler() if await asyncio.to_thread(is_autoscaled) else None
        metrics = RunMetrics(", ".join(self.plan.cells_of))
        try:
            while True:
                # If the nodes cannot be read, for example while the head restarts, the next poll reads them.
                with suppress(Exception):
                    for standing in self._stages.silence.standing():
                        kill(standing)
                    self._adapt(await asyncio.to_thread(nodes_now, self.shares.excluded, self._checked))
                    metrics.publish(self._counted())
                    if autoscaler is not None:
                        await asyncio.to_thread(autoscaler.ask, self._needed())
                await asyncio.sleep(REFRESH_SECONDS)
        finally:
            if autoscaler is not None:
                await asyncio.to_thread(autoscaler.withdraw)

    def _adapt(self, nodes: Nodes) -> None:
        self.shares.nodes[:] = nodes.resources
        admitted = (self.shares.unchecked & nodes.ids) - nodes.unchecked - self.shares.excluded
        self.shares.unchecked = nodes.unchecked
        if admitted:
            self._submissions.admit(admitted)
        self._stages.leaving = nodes.leaving
        if self._alive - nodes.ids:
            self._stages.node_losses.append(time.monotonic())
        self._alive = nodes.ids
        self.progress.nodes = nodes.uses
        for admission in self._admissions.values():
            admission.resize(self.shares.detections(admission.resources))
        self._stages.fill()
        unplaced = (share.label for share in self._needed() if not share.fits(nodes.resources))
        self.progress.missing_node = next(unplaced, "")

    def _needed(self) -> list[Share]:
        """Return the shares of all stages and cells that run, or would run on more nodes."""
        waiting = [
            self.shares.largest(admission.resources)["detector"]
            for admission in self._admissions.values()
            for _ in range(admission.running.waiting)
        ]
        return [*self._stages.needed(), *waiting]

    async def _run_groups(self, cells: Iterable[CellStage]) -> None:
        """Run cells in groups with a common producer; each group has one task that waits for stages."""
        groups: defaultdict[str, list[CellStage]] = defaultdict(list)
        for cell in cells:
            last = self.plan.stages[cell.inputs[-1]]
            # A training is the producer of many image sets; most other stages are their own producers.
            groups[last.producer].append(cell)
        await asyncio.gather(*map(self._run_group, groups.values()))

    async def _run_group(self, group: Iterable[CellStage]) -> None:
        """Run the cells of one producer by ascending L, each cell as soon as its stages are made."""
        tasks: set[asyncio.Task[Any]] = set()
        ready: set[tuple[str, ...]] = set()
        for cell in sorted(group, key=lambda stage: stage.cell.variant.iterations):
            if cell.inputs not in ready and not self._halted:
                # A failed stage raises again when the cell requests it, and the cell records the failure.
                with suppress(Exception):
                    await self._stages.before(cell)
                    ready.add(cell.inputs)
            admission = self._admission(cell)
            await admission.begun.acquire()
            task = asyncio.create_task(self._cell(cell.fingerprint, cell.inputs in ready))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            task.add_done_callback(lambda _, begun=admission.begun: begun.release())  # type: ignore[misc]
        if tasks:
            await asyncio.wait(tasks)

    def _admission(self, cell: CellStage) -> Admission:
        resources = cell.resources
        key = (
            resources.detections,
            resources.detector_cpus,
            resources.detector_gpus,
            resources.detector_accelerator,
        )
        if key not in self._admissions:
            self._admissions[key] = Admission(resources, self.shares.detections(resources))
        return self._admissions[key]

    async def _cell(self, fingerprint: str, is_ready: bool = False) -> Mapping[str, Any] | None:
        if fingerprint not in self.outcomes and fingerprint not in self._skipped:
            key = f"cell/{fingerprint}"
            await self._stages.make_once(key, partial(self._run, self.plan.cells[fingerprint], is_ready))
            if fingerprint in self.outcomes:
                self._stages.forget(key)
        return self.outcomes.get(fingerprint)

    async def _run(self, cell: CellStage, is_ready: bool) -> None:
        outcome: dict[str, Any] | None = None

        async def make(lease: LeasedJob) -> None:
            nonlocal outcome
            report = await self._stages.run(cell, lease, [cell])
            outcome = report.outcome
            self.progress.cell_took(report.seconds)

        try:
            if self._halted:
                return
            for mended in range(MENDINGS + 1):
                try:
                    await self._run_when_ready(cell, is_ready and not self._stages.has_taken_back(cell), make)
                    break
                except Exception:
                    # Another cell may have begun to read an artifact again before it was made anew.
                    if self._halted or mended == MENDINGS or not await self._stages.take_back_damaged(cell):
                        raise
            if self._halted and outcome is None:
                return
            self.outcomes[cell.fingerprint] = outcome or await self._outcome(cell)
        except Exception as error:
            if not self._halted:
                if self._fail_fast:
                    self._halt()
                await self._record_failure(cell, error)
            return
        finally:
            self._values.release(cell)
        if cell.fingerprint in self._failed_before:
            with suppress(OSError, GoodshotError):
                await in_thread_unless_local(self.results.files.is_local, self.results.forget_failure, cell.fingerprint)
        self.progress.cells_done += 1
        self._admission(cell).widen(self.progress.cell_seconds / self.progress.cells_done)

    async def _run_when_ready(
        self, cell: CellStage, is_ready: bool, make: Callable[[LeasedJob], Coroutine[Any, Any, None]]
    ) -> None:
        """Make the stages that a cell depends on, unless they are made, and run it under its lease."""
        if not is_ready:
            await self._stages.before(cell)
        async with self._admission(cell).running:
            if not self._halted:
                await self._leased_work.make(
                    self._leased_work.cells, cell.fingerprint, lambda: self._is_finished(cell), make
                )

    async def _is_finished(self, cell: CellStage) -> bool:
        return await in_thread_unless_local(self.results.files.is_local, self.results.has, cell.fingerprint)

    async def _outcome(self, cell: CellStage) -> dict[str, Any]:
        """Read the outcome of a cell that another driver has run."""
        columns = self.results.tables.outcome
        return await in_thread_unless_local(self.results.files.is_local, self.results.row, cell.fingerprint, columns)

    def _halt(self) -> None:
        """End the run: cancel all running jobs and begin no more cells."""
        self._halted = True
        self._leased_work.stop()

    async def _record_failure(self, cell: CellStage, error: Exception) -> None:
        """Record a failed cell's error and traceback and count the cell; the other cells continue."""
        cause, log = (error.cause, str(error)) if isinstance(error, RayTaskError) else (error, "")
        await in_thread_unless_local(self.results.files.is_local, record_failure, self.results, cell, error, cause, log)
        self.progress.cells_done += 1
        self.progress.cells_failed += 1


def _was_lost() -> bool:
    """Return whether this process is an actor that Ray has started again."""
    if not ray.is_initialized():
        return False
    context = ray.get_runtime_context()
    return context.get_actor_id() is not None and bool(context.was_current_actor_reconstructed)


def start_broker(options: BrokerOptions) -> ActorHandle[Broker]:
    """Start a broker as an actor on the driver's node.

    Neither the broker nor the trials that wait for it reserve a CPU: a trial that reserved the last CPU would wait
    forever for a stage that needs this CPU.
    """
    lives = {"max_restarts": LIVES - 1, "max_task_retries": -1}
    made = ray.remote(Broker).options(num_cpus=0, max_concurrency=100_000, scheduling_strategy=on_own_node(), **lives)
    return cast("ActorHandle[Broker]", made.remote(options))
