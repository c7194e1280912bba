"""The broker: each cell runs once however many trials and studies want it, and each stage before it once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayTaskError

from components.errors import GoodshotError
from runner.cells import CellStage
from runner.cluster.leased import LeasedJob, LeasedWork, in_thread_unless_local
from runner.cluster.stages import StageMaker
from runner.cluster.values import SharedValues
from runner.cluster.worker import Locations
from runner.declaration.resources import Resources
from runner.executor.failures import record_failure
from runner.executor.progress import Progress
from runner.plan.plan import Plan, Trial
from runner.plan.scheduling import Shares
from runner.results.compaction import LAST_SECONDS, Compaction
from runner.results.results import Results
from runner.stages.costs import Cost, Memory
from runner.store.artifacts import Store

AHEAD = 4
"""Cells under way for each that can run at once: the next ones are there when a worker is free."""
AHEAD_OF_QUICK, QUICK_SECONDS = 32, 0.1
"""So many where they take no longer than that on average, so that workers never wait for this process."""


@dataclass(frozen=True)
class BrokerOptions:
    """What a broker begins with.

    nodes: each node's ``CPU`` and ``GPU``. skipped: cells that are not to be tried; they count as failed.
    costs, memory: what stages have taken on this machine, by kind of work.
    """

    plan: Plan
    store_uri: str
    results: Results
    nodes: list[dict[str, float]]
    fail_fast: bool = False
    skipped: frozenset[str] = frozenset()
    costs: Mapping[str, Cost] = field(default_factory=dict)
    memory: Mapping[str, Memory] = field(default_factory=dict)


class Admission:
    """How many cells of one study's resources are under way.

    Only so many are leased at a time: the others are free for another driver. As many are begun as keep the workers
    busy; the others take no memory but their place in the plan.
    """

    def __init__(self, resources: Resources, at_once: int) -> None:
        self.running = asyncio.Semaphore(resources.detections or AHEAD * at_once)
        self.begun = asyncio.Semaphore(2 * AHEAD_OF_QUICK * at_once)
        self._more_if_quick = 0 if resources.detections else (AHEAD_OF_QUICK - AHEAD) * at_once

    def widen(self, seconds_each: float) -> None:
        """One more cell at a time where cells are quick."""
        if self._more_if_quick and seconds_each < QUICK_SECONDS:
            self._more_if_quick -= 1
            self.running.release()


class Broker:
    """Runs cells: those that are asked for, each once, on the stages that :class:`StageMaker` makes."""

    def __init__(self, options: BrokerOptions) -> None:
        self.plan, self.results = options.plan, options.results
        self._fail_fast, self._halted, self._skipped = options.fail_fast, False, options.skipped
        self.outcomes: dict[str, Mapping[str, Any]] = dict(self.results.rows(self.results.tables.outcome))
        self._failed_before = set(self.results.tries())
        self.progress = Progress()
        self.shares = Shares(options.nodes, dict(options.memory))
        store = Store(options.store_uri)
        self._values = SharedValues(options.store_uri, self.shares)
        self._work = LeasedWork(options.store_uri, self.results.uri)
        self._compaction = Compaction(self.results)
        locations = Locations(options.store_uri, self.results)
        self._stages = StageMaker(
            options.plan, store, locations, self.shares, self._values, self._work, self.progress, options.costs
        )
        self._asked: set[str] = set()
        self._trials: defaultdict[str, asyncio.Future[Mapping[int, tuple[str, ...]]]] = defaultdict(asyncio.Future)
        self._admissions: dict[tuple[Any, ...], Admission] = {}

    async def run(self, fingerprints: list[str]) -> int:
        """Run these cells, all at once as far as the cluster goes. Returns how many of them failed."""
        return sum(row is None for row in await self.cells(fingerprints))

    async def cells(self, fingerprints: list[str]) -> list[Mapping[str, Any] | None]:
        """Several cells' outcomes, in order: read, waited for, or made. None where one failed or is skipped."""
        self._work.keep()
        self._compaction.keep()
        fresh = [f for f in fingerprints if not (f in self.outcomes or f in self._asked or f in self._skipped)]
        planned = [self.plan.cells[f] for f in fresh]
        self._asked.update(fresh)
        self.progress.cells_total += len(fresh)
        self._values.expect(planned)
        await self._stages.want(planned)
        await self._run_groups(planned)
        return [await self._cell(f) for f in fingerprints]

    async def learn(self, part: Plan) -> None:
        """More cells and stages, of a point that was chosen just now."""
        self.plan.merge(part)

    async def begin(self, trial: Trial) -> None:
        """Ray Tune has begun a trial of this point, all of whose cells are known."""
        if self._trials[trial.key].done():
            self._trials[trial.key] = asyncio.get_running_loop().create_future()
        self._trials[trial.key].set_result(trial.cells)

    async def trial(self, key: str) -> Mapping[int, tuple[str, ...]]:
        """The cells of a trial by L, as soon as they are known; none of a point that cannot be."""
        return await asyncio.shield(self._trials[key])

    async def stepped(self, stage: str, steps: int, seconds: float) -> None:
        """Told by stages while they train, so that steps of a failed or stopped training count too."""
        self.progress.stepped(stage, steps, seconds)

    async def announce(self, key: str) -> None:
        """Told by stages that go on: cells of an earlier product need not wait for the last."""
        self._stages.announce(key)

    async def snapshot(self) -> Progress:
        """Where the run is."""
        return self.progress

    async def close(self) -> None:
        """Give every lease back: nothing that is under way will be finished."""
        await self._work.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._compaction.end(), LAST_SECONDS)

    async def _run_groups(self, cells: Iterable[CellStage]) -> None:
        """Run cells as what they stand on is there: of thousands that wait for a training, one waits for all."""
        groups: defaultdict[str, list[CellStage]] = defaultdict(list)
        for cell in cells:
            last = self.plan.stages[cell.inputs[-1]]
            # A training commits its own products on the way; other stages are waited for one by one.
            groups[last.producer].append(cell)
        await asyncio.gather(*map(self._run_group, groups.values()))

    async def _run_group(self, group: Iterable[CellStage]) -> None:
        """Begin the cells that stand on one stage, the smallest L first."""
        begun: set[asyncio.Task[Any]] = set()
        ready: set[tuple[str, ...]] = set()
        for cell in sorted(group, key=lambda each: each.cell.variant.iterations):
            if cell.inputs not in ready and not self._halted:
                # The cell meets a failure of its stages too, and records it.
                with suppress(Exception):
                    await self._stages.before(cell)
                    ready.add(cell.inputs)
            admission = self._admission(cell)
            await admission.begun.acquire()
            task = asyncio.create_task(self._cell(cell.fingerprint, cell.inputs in ready))
            begun.add(task)
            task.add_done_callback(begun.discard)
            task.add_done_callback(lambda _, begun=admission.begun: begun.release())  # type: ignore[misc]
        if begun:
            await asyncio.wait(begun)

    def _admission(self, cell: CellStage) -> Admission:
        resources = cell.resources
        key = resources.detections, resources.detector_cpus, resources.detector_gpus
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
            self.progress.cell_seconds += report.seconds

        try:
            if self._halted:
                return
            if not is_ready:
                await self._stages.before(cell)
            async with self._admission(cell).running:
                if self._halted:
                    return
                await self._work.make(self._work.cells, cell.fingerprint, lambda: self._is_finished(cell), make)
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

    async def _is_finished(self, cell: CellStage) -> bool:
        return await in_thread_unless_local(self.results.files.is_local, self.results.has, cell.fingerprint)

    async def _outcome(self, cell: CellStage) -> dict[str, Any]:
        """Of a cell that another driver has run."""
        columns = self.results.tables.outcome
        return await in_thread_unless_local(self.results.files.is_local, self.results.row, cell.fingerprint, columns)

    def _halt(self) -> None:
        """The first failure ends the run: what is under way is stopped, what waits is not begun."""
        self._halted = True
        self._work.stop()

    async def _record_failure(self, cell: CellStage, error: Exception) -> None:
        """One failing cell never stops the others: its error and traceback go to ``failures/``."""
        cause, log = (error.cause, str(error)) if isinstance(error, RayTaskError) else (error, "")
        await in_thread_unless_local(self.results.files.is_local, record_failure, self.results, cell, error, cause, log)
        self.progress.cells_done += 1
        self.progress.cells_failed += 1


BrokerActor = ray.remote(num_cpus=0, max_concurrency=100_000)(Broker)
"""It and whoever waits for it take no resources: a trial that held a CPU while waiting for a stage that needs one would
wait for ever."""
