"""The single-flight broker: each stage runs once however many cells, trials and studies want it."""

from __future__ import annotations

import asyncio
import re
import traceback
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Any

import ray
from ray.exceptions import RayTaskError

from components.errors import GoodshotError
from runner.cluster.connection import tasks
from runner.cluster.decoded import DecodedImages
from runner.cluster.flights import Flights
from runner.cluster.leased import LeasedWork, UnderLease
from runner.console.progress import Progress
from runner.plan.costs import Cost, Costs, Memory, fit_cost, prompt_cost, score_cost
from runner.plan.plan import Plan, PlannedCell, Trial
from runner.plan.scheduling import Shares
from runner.results.compaction import LAST_SECONDS, Compaction
from runner.results.results import Results
from runner.results.trials import OUTCOME, outcome
from runner.study.study import Resources

AHEAD = 4
"""Cells under way for each that can run at once: the next ones are there when a worker is free."""
AHEAD_OF_QUICK, QUICK_SECONDS = 32, 0.1
"""So many where they take no longer than that on average, so that workers never wait for this process."""
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Broker:
    """Runs cells: those that are asked for, each once, on the stages that :class:`Flights` makes.

    Args:
        plan: extended by :meth:`learn` where a search chooses its points as it goes.
        nodes: each node's ``CPU`` and ``GPU``.
        leave: cells that are not to be tried; they count as failed.
    """

    def __init__(
        self,
        plan: Plan,
        store_uri: str,
        out: str,
        resources: Resources,
        nodes: list[dict[str, float]],
        fail_fast: bool = False,
        leave: frozenset[str] = frozenset(),
        costs: Costs = MappingProxyType({}),
        memory: Mapping[str, Memory] = MappingProxyType({}),
    ) -> None:
        self.plan, self.store_uri, self.out = plan, store_uri, out
        self._fail_fast, self._halted, self._leave = fail_fast, False, leave
        self.results = Results(out)
        self.outcomes = self.results.rows(OUTCOME)
        self._failed_before = set(self.results.tries())
        self.progress = Progress()
        self.shares = Shares(resources, nodes, dict(memory))
        self._decoded = DecodedImages(store_uri, self.shares)
        self._work = LeasedWork(store_uri, out)
        self._compaction = Compaction(out)
        self._flights = Flights(plan, store_uri, self.shares, self._decoded, self._work, self.progress, costs)
        self._asked: set[str] = set()
        self._trials: defaultdict[str, asyncio.Future[Mapping[int, tuple[str, ...]]]] = defaultdict(asyncio.Future)
        # Only so many cells are leased at a time: the others are free for another driver.
        at_once = self.shares.detections()
        self._detecting = asyncio.Semaphore(resources.detections or AHEAD * at_once)
        # As many are begun as keep the workers busy; the others take no memory but their place in the plan.
        self._admitted = asyncio.Semaphore(2 * AHEAD_OF_QUICK * at_once)
        self._more_if_quick = 0 if resources.detections else (AHEAD_OF_QUICK - AHEAD) * at_once

    async def run(self, fingerprints: list[str]) -> int:
        """Run these cells, all at once as far as the cluster goes. Returns how many of them failed."""
        return sum(row is None for row in await self.cells(fingerprints))

    async def cells(self, fingerprints: list[str]) -> list[dict[str, Any] | None]:
        """Several cells' outcomes, in order: read, waited for, or made. None where one failed or is left alone."""
        self._work.keep()
        self._compaction.keep()
        fresh = [f for f in fingerprints if not (f in self.outcomes or f in self._asked or f in self._leave)]
        planned = [self.plan.cells[f] for f in fresh]
        self._asked.update(fresh)
        self.progress.cells_total += len(fresh)
        self._decoded.expect(planned)
        self._flights.want(planned)
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

    async def add_steps(self, flight: str, steps: int, seconds: float) -> None:
        """Told by generator actors while they train, so that steps of a failed or stopped training count too."""
        self.progress.steps_of[flight] = self.progress.steps_of.get(flight, 0) + steps
        self.progress.steps_done += steps
        self.progress.step_seconds += seconds

    async def left(self, image_set: str) -> None:
        """Told by generator actors: the cells of a smaller L need not wait for the largest."""
        self._flights.left(image_set)

    async def add_cost(self, kind: str, cost: Cost) -> None:
        """What some units of a kind of work have taken."""
        self.progress.costs[kind] = self.progress.costs.get(kind, Cost()) + cost

    async def add_memory(self, kind: str, memory: Memory) -> None:
        """What a kind of work has taken of a GPU."""
        self.shares.measured(kind, memory)
        self.progress.memory[kind] = self.shares.memory[kind]

    async def snapshot(self) -> Progress:
        """Where the run is."""
        return self.progress

    async def close(self) -> None:
        """Give every lease back: nothing that is under way will be finished."""
        self._work.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._compaction.end(), LAST_SECONDS)

    async def _run_groups(self, cells: Iterable[PlannedCell]) -> None:
        """Run cells as what they stand on is there: of thousands that wait for a training, one waits for all."""
        groups: defaultdict[tuple[str, str | None], list[PlannedCell]] = defaultdict(list)
        for planned in cells:
            stage = planned.generator or planned.image_set or planned.support.shard
            # A training leaves its own image sets by the way; those of VQGAN-CLIP are stages of their own.
            groups[stage, None if planned.cell.arm == "generated" else planned.image_set].append(planned)
        await asyncio.gather(*map(self._run_group, groups.values()))

    async def _run_group(self, group: Iterable[PlannedCell]) -> None:
        """Begin the cells that stand on one stage, the smallest L first."""
        begun: set[asyncio.Task[Any]] = set()
        there: set[tuple[str | None, ...]] = set()
        for planned in sorted(group, key=lambda each: each.length):
            stages = (planned.support.shard, planned.prompt, planned.image_set)
            if stages not in there and not self._halted:
                # The cell meets a failure of its stages too, and records it.
                with suppress(Exception):
                    await self._flights.before(planned)
                    there.add(stages)
            await self._admitted.acquire()
            task = asyncio.create_task(self._cell(planned.fingerprint, stages in there))
            begun.add(task)
            task.add_done_callback(begun.discard)
            task.add_done_callback(lambda _: self._admitted.release())
        if begun:
            await asyncio.wait(begun)

    async def _cell(self, fingerprint: str, is_ready: bool = False) -> dict[str, Any] | None:
        if fingerprint not in self.outcomes and fingerprint not in self._leave:
            key = f"cell/{fingerprint}"
            await self._flights.once(key, partial(self._run, fingerprint, is_ready))
            if fingerprint in self.outcomes:
                self._flights.forget(key)
        return self.outcomes.get(fingerprint)

    async def _run(self, fingerprint: str, is_ready: bool) -> None:
        planned = self.plan.cells[fingerprint]
        made: list[dict[str, Any]] = []

        async def make(lease: UnderLease) -> None:
            row, memory = await self._flights.task(lease, self._detection(planned))
            made.append(row)
            if memory is not None:
                await self.add_memory(fit_cost(planned.cell.detector, "cuda"), memory)

        try:
            if self._halted:
                return
            if not is_ready:
                await self._flights.before(planned)
            async with self._detecting:
                if self._halted:
                    return
                await self._work.make(self._work.cells, fingerprint, lambda: self.results.has(fingerprint), make)
            row = made[0] if made else self.results.row(fingerprint, (*OUTCOME, "seconds_fit", "seconds_score"))
        except Exception as error:
            if not self._halted:
                self._record_failure(planned, error)
                if self._fail_fast:
                    self._halt()
            return
        finally:
            self._decoded.release(planned)
        self.outcomes[fingerprint] = outcome(row)
        if fingerprint in self._failed_before:
            with suppress(OSError, GoodshotError):
                self.results.forget_failure(fingerprint)
        if made:
            self.progress.executed["detection"] += 1
            await self._add_costs(planned, row)
        self.progress.cells_done += 1
        self.progress.cell_seconds += row["seconds_fit"] + row["seconds_score"]
        if self._more_if_quick and self.progress.cell_seconds < QUICK_SECONDS * self.progress.cells_done:
            self._more_if_quick -= 1
            self._detecting.release()

    def _halt(self) -> None:
        """The first failure ends the run: what is under way is stopped, what waits is not begun."""
        self._halted = True
        self._work.stop()

    async def _add_costs(self, planned: PlannedCell, row: dict[str, Any]) -> None:
        detector, device = planned.cell.detector, row["device"]
        images = len(planned.support.ids) + planned.cell.copies
        await self.add_cost(fit_cost(detector, device), Cost(row["seconds_fit"], images))
        await self.add_cost(score_cost(detector, device), Cost(row["seconds_score"], row["n_test"]))
        if planned.prompt is not None and row.get("seconds_prompt") is not None:
            kind = prompt_cost(self.plan.prompts[planned.prompt].encoder)
            await self.add_cost(kind, Cost(row["seconds_prompt"], 1))

    def _detection(self, planned: PlannedCell) -> Any:
        """The reference to a cell's row, which is being made."""
        share = self.shares.detector(planned.cell.detector)
        return tasks.detect.options(num_cpus=share.cpus, num_gpus=share.gpus).remote(
            planned,
            self._decoded.support(planned.support),
            self._decoded.test(planned.support.shard, planned.cell.detector.image_size),
            self.store_uri,
            self.out,
            share.device,
            share.threads,
            *self._decoded.features(planned),
        )

    def _record_failure(self, planned: PlannedCell, error: Exception) -> None:
        """One failing cell never stops the others: its error and traceback go to ``failures/``."""
        cause = error.cause if isinstance(error, RayTaskError) else error
        kind = "" if isinstance(cause, GoodshotError) else f"{type(cause).__name__}: "
        lines = str(cause).strip().splitlines() or ["no message"]
        log = COLOUR.sub("", str(error)) if isinstance(error, RayTaskError) else traceback.format_exc()
        # Where even this cannot be written, the count still says that the cell failed, and the others go on.
        with suppress(OSError, GoodshotError):
            self.results.append_failure(planned.fingerprint, planned.study, describe(planned), f"{kind}{lines[0]}", log)
        self.progress.cells_done += 1
        self.progress.cells_failed += 1


BrokerActor = ray.remote(num_cpus=0, max_concurrency=100_000)(Broker)
"""It and whoever waits for it take no resources: a trial that held a CPU while waiting for a stage that needs one would
wait for ever."""


def describe(planned: PlannedCell) -> str:
    """A cell in words: category, seed, arm, detector and, if generated, its point."""
    cell = planned.cell
    point = f" {cell.generation.point.label()}" if cell.generation else f" copies={cell.copies}"
    return f"{cell.category} seed={cell.seed} {cell.label}{point} {cell.detector.label}"
