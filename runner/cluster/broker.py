"""The broker runs each requested cell once, however many trials and studies request it."""

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

from goodshot.components.errors import GoodshotError
from goodshot.runner.cells import CellStage
from goodshot.runner.cluster.leased import LeasedJob, LeasedWork, in_thread_unless_local
from goodshot.runner.cluster.stages import StageMaker
from goodshot.runner.cluster.values import SharedValues
from goodshot.runner.cluster.worker import Locations
from goodshot.runner.declaration.resources import Resources
from goodshot.runner.executor.failures import record_failure
from goodshot.runner.executor.progress import Progress
from goodshot.runner.plan.plan import Plan, Trial
from goodshot.runner.plan.scheduling import Shares
from goodshot.runner.results.compaction import LAST_SECONDS, Compaction
from goodshot.runner.results.results import Results
from goodshot.runner.stages.costs import Cost, Memory
from goodshot.runner.store.artifacts import Store

AHEAD = 4
"""Cells in progress for each cell that can run at once: a worker that becomes free finds the next one submitted."""
AHEAD_OF_QUICK, QUICK_SECONDS = 32, 0.1
"""The limit that replaces ``AHEAD`` if cells take less than ``QUICK_SECONDS`` on average: with fewer cells in progress,
workers would wait for this process."""


@dataclass(frozen=True)
class BrokerOptions:
    """The arguments of a :class:`Broker`.

    nodes: the numbers of ``CPU`` and ``GPU`` of each node; excluded: Ray ids of other nodes, which must get no work.
    fail_fast: whether the first failed cell ends the run.
    skipped: fingerprints of cells that are not run; their outcome is None, as of failed cells.
    costs, memory: the seconds and GPU memory that stages needed on this machine, by kind of work.
    """

    plan: Plan
    store_uri: str
    results: Results
    nodes: list[dict[str, float]]
    fail_fast: bool = False
    skipped: frozenset[str] = frozenset()
    costs: Mapping[str, Cost] = field(default_factory=dict)
    memory: Mapping[str, Memory] = field(default_factory=dict)
    excluded: frozenset[str] = frozenset()


class Admission:
    """Limits how many cells with the same declared resources are in progress.

    ``running`` limits the leased cells: all others are free for another driver. ``begun`` limits the cells that have a
    task in the event loop: all others only need memory for their entry in the plan.
    """

    def __init__(self, resources: Resources, at_once: int) -> None:
        self.running = asyncio.Semaphore(resources.detections or AHEAD * at_once)
        self.begun = asyncio.Semaphore(2 * AHEAD_OF_QUICK * at_once)
        self._more_if_quick = 0 if resources.detections else (AHEAD_OF_QUICK - AHEAD) * at_once

    def widen(self, seconds_each: float) -> None:
        """Let one more cell run at once if cells take less than ``QUICK_SECONDS`` on average, up to a limit."""
        if self._more_if_quick and seconds_each < QUICK_SECONDS:
            self._more_if_quick -= 1
            self.running.release()


class Broker:
    """Runs each requested cell once, after a :class:`StageMaker` has made the stages that the cell depends on."""

    def __init__(self, options: BrokerOptions) -> None:
        self.plan, self.results = options.plan, options.results
        self._fail_fast, self._halted, self._skipped = options.fail_fast, False, options.skipped
        self.outcomes: dict[str, Mapping[str, Any]] = dict(self.results.rows(self.results.tables.outcome))
        self._failed_before = set(self.results.tries())
        self.progress = Progress()
        self.shares = Shares(options.nodes, dict(options.memory), options.excluded)
        store = Store(options.store_uri)
        self._values = SharedValues(options.store_uri, self.shares)
        self._leased_work = LeasedWork(options.store_uri, self.results.uri)
        self._compaction = Compaction(self.results)
        locations = Locations(options.store_uri, self.results)
        self._stages = StageMaker(
            options.plan, store, locations, self.shares, self._values, self._leased_work, self.progress, options.costs
        )
        self._requested: set[str] = set()
        self._trials: defaultdict[str, asyncio.Future[Mapping[int, tuple[str, ...]]]] = defaultdict(asyncio.Future)
        self._admissions: dict[tuple[Any, ...], Admission] = {}

    async def run(self, fingerprints: list[str]) -> int:
        """Run these cells, in parallel as far as resources allow. Returns the number of failed and skipped cells."""
        return sum(row is None for row in await self.cells(fingerprints))

    async def cells(self, fingerprints: list[str]) -> list[Mapping[str, Any] | None]:
        """Return the outcomes of cells, in order; None for a cell that failed or is skipped.

        A cell that has a row is not run again. If a cell is already running, its outcome is waited for.
        """
        self._leased_work.keep()
        self._compaction.keep()
        new = [f for f in fingerprints if not (f in self.outcomes or f in self._requested or f in self._skipped)]
        planned = [self.plan.cells[f] for f in new]
        self._requested.update(new)
        self.progress.cells_total += len(new)
        self._values.expect(planned)
        await self._stages.want(planned)
        await self._run_groups(planned)
        return [await self._cell(f) for f in fingerprints]

    async def learn(self, part: Plan) -> None:
        """Add the cells and stages of a point that a search has just chosen to the plan."""
        self.plan.merge(part)

    async def begin(self, trial: Trial) -> None:
        """Publish the cells of a trial that Ray Tune has begun, for :meth:`trial`."""
        if self._trials[trial.key].done():
            self._trials[trial.key] = asyncio.get_running_loop().create_future()
        self._trials[trial.key].set_result(trial.cells)

    async def trial(self, key: str) -> Mapping[int, tuple[str, ...]]:
        """Wait for :meth:`begin`; return the trial's fingerprints by L, which are none if the point is invalid."""
        return await asyncio.shield(self._trials[key])

    async def stepped(self, stage: str, steps: int, seconds: float) -> None:
        """Count training steps. Stages call this during training, so that the steps of a failed training count too."""
        self.progress.stepped(stage, steps, seconds)

    async def announce(self, key: str) -> None:
        """Note a committed artifact of a stage that continues: cells that need only this artifact can run."""
        self._stages.announce(key)

    async def snapshot(self) -> Progress:
        """Return the progress of the run."""
        return self.progress

    async def close(self) -> None:
        """Release all leases and end the compaction of results; jobs in progress are abandoned."""
        await self._leased_work.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._compaction.end(), LAST_SECONDS)

    async def _run_groups(self, cells: Iterable[CellStage]) -> None:
        """Run cells in groups with a common producer: one task for each group, not for each cell, waits for stages."""
        groups: defaultdict[str, list[CellStage]] = defaultdict(list)
        for cell in cells:
            last = self.plan.stages[cell.inputs[-1]]
            # A training is the producer of many image sets; most other stages are their own producers.
            groups[last.producer].append(cell)
        await asyncio.gather(*map(self._run_group, groups.values()))

    async def _run_group(self, group: Iterable[CellStage]) -> None:
        """Run the cells of one producer, the smallest L first, each as soon as its stages are made."""
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
                await self._leased_work.make(
                    self._leased_work.cells, cell.fingerprint, lambda: self._is_finished(cell), make
                )
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


BrokerActor = ray.remote(num_cpus=0, max_concurrency=100_000)(Broker)
"""Neither the broker nor the trials that wait for it reserve a CPU: a trial that reserved the last CPU would wait for
ever for a stage that needs it."""
