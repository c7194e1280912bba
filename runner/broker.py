"""The single-flight broker: each stage runs once however many cells, trials and studies want it."""

from __future__ import annotations

import asyncio
import re
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayTaskError

from components.data.shards import Split
from components.detectors import Features
from components.errors import GoodshotError
from runner.actors import GeneratorActor
from runner.cluster import start_worker
from runner.costs import Cost, device_of, fit_cost, prompt_cost, score_cost
from runner.decoded import DecodedImages
from runner.leases import BEAT_SECONDS, Leases
from runner.plan import GeneratorStage, Plan, PlannedCell, PromptStage, VQGANClipStage
from runner.pool import GeneratorPool
from runner.results import Results
from runner.stages import SharedFeatures, detect, make_shards, rank_prompts
from runner.store import Store
from runner.study import Resources
from runner.variation import VariationStage, make_variation

AHEAD = 4
"""Cells under way for each that can run at once: the next ones are there when a worker is free."""
WAIT_SECONDS = 0.5
"""Between two looks at what another driver works on."""
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Progress:
    """Where a run is: counts so far and in all, and measured costs in seconds."""

    cells_total: int = 0
    cells_done: int = 0
    cells_failed: int = 0
    steps_total: int = 0
    steps_done: int = 0
    step_seconds: float = 0.0
    cell_seconds: float = 0.0
    executed: Counter[str] = field(default_factory=Counter)
    steps_of: dict[str, int] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)

    def seconds_left(self, parallel: float) -> float | None:
        """Expected seconds to the end on ``parallel`` CPUs; None before every cost was measured."""
        finished = self.cells_done - self.cells_failed
        if not (finished or self.steps_done) or (self.steps_total and not self.steps_done):
            return None
        per_step = self.step_seconds / self.steps_done if self.steps_done else 0.0
        per_cell = self.cell_seconds / finished if finished else 2.0
        left = max(0, self.steps_total - self.steps_done) * per_step
        left += (self.cells_total - self.cells_done) * per_cell
        return left / parallel


@ray.remote
def _rank_prompts(stage: PromptStage, originals: list[np.ndarray], store_uri: str) -> None:
    start_worker(1)
    rank_prompts(stage, originals, Store(store_uri))


@ray.remote
def _make_shards(samples: Any, key: str, store_uri: str, source: str | None) -> None:
    start_worker(1)
    make_shards(samples, key, Store(store_uri), source)


@ray.remote
def _make_variation(stage: VariationStage, store_uri: str) -> None:
    start_worker(1)
    make_variation(stage, Store(store_uri))


@ray.remote
def _detect(
    planned: PlannedCell,
    originals: list[np.ndarray],
    test: Split,
    store_uri: str,
    out: str,
    device: str,
    threads: int,
    *features: Features | None,
) -> dict[str, Any]:
    start_worker(threads)
    return detect(planned, originals, test, Store(store_uri), Results(out), device, SharedFeatures(*features))


class _UnderLease:
    """Something that is made under a lease: told when it is lost, and how what is under way is stopped."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()
        self.stop: Callable[[], None] = lambda: None

    async def task(self, reference: Any) -> Any:
        """What a Ray task returns, which is cancelled if the lease is lost."""
        self.stop = partial(ray.cancel, reference, force=True)
        return await reference


class Flights:
    """One flight per stage key; whoever asks for a stage that is under way waits for that flight."""

    def __init__(
        self,
        plan: Plan,
        store_uri: str,
        out: str,
        resources: Resources,
        cpus: float,
        gpus: float,
        fail_fast: bool = False,
    ) -> None:
        self.plan, self.store_uri, self.out = plan, store_uri, out
        self._fail_fast, self._halted = fail_fast, False
        self.resources = resources
        self.store, self.results = Store(store_uri), Results(out)
        self.rows = self.results.rows()
        self.progress = Progress()
        self._decoded = DecodedImages(store_uri, resources.detector_cpus, resources.detector_gpus)
        self._flights: dict[str, asyncio.Future[Any]] = {}
        # Stages are shared by whoever has this store, rows by whoever has this --out.
        self._stages, self._cells = Leases(store_uri), Leases(out)
        self._under_lease: dict[tuple[Leases, str], _UnderLease] = {}
        self._beating: asyncio.Task[None] | None = None
        slots = gpus / resources.generator_gpus if resources.generator_gpus else cpus / resources.generator_cpus
        self._pool = GeneratorPool(int(slots), self._start_generator_actor)
        detecting = gpus / resources.detector_gpus if resources.detector_gpus else cpus / resources.detector_cpus
        # Only so many cells are leased at a time: the others are free for another driver.
        self._detecting = asyncio.Semaphore(AHEAD * max(1, int(detecting)))

    async def run(self, fingerprints: list[str]) -> int:
        """Run these cells, all at once as far as the cluster goes. Returns how many of them failed."""
        unfinished = [f for f in fingerprints if f not in self.rows]
        self._expect(unfinished)
        self._beating = asyncio.create_task(self._beat())
        rows = await asyncio.gather(*(self.cell(f) for f in unfinished))
        return sum(row is None for row in rows)

    async def cell(self, fingerprint: str) -> dict[str, Any] | None:
        """One cell's row: read, waited for, or made. None if it failed; the failure is recorded."""
        if fingerprint in self.rows:
            return self.rows[fingerprint]
        row: dict[str, Any] | None = await self._once(f"cell/{fingerprint}", lambda: self._run(fingerprint))
        return row

    async def cells(self, fingerprints: list[str]) -> list[dict[str, Any] | None]:
        """Several cells' rows, in order."""
        return list(await asyncio.gather(*(self.cell(f) for f in fingerprints)))

    async def add_steps(self, flight: str, steps: int, seconds: float) -> None:
        """Told by generator actors while they train, so that steps of a failed or stopped training count too."""
        self.progress.steps_of[flight] = self.progress.steps_of.get(flight, 0) + steps
        self.progress.steps_done += steps
        self.progress.step_seconds += seconds

    async def add_cost(self, kind: str, cost: Cost) -> None:
        """What some units of a kind of work have taken."""
        self.progress.costs[kind] = self.progress.costs.get(kind, Cost()) + cost

    async def snapshot(self) -> Progress:
        """Where the run is."""
        return self.progress

    async def close(self) -> None:
        """Give every lease back: nothing that is under way will be finished."""
        if self._beating is not None:
            self._beating.cancel()
        self._stages.close()
        self._cells.close()

    async def _beat(self) -> None:
        """Renew the leases; whoever lost one is told."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            for leases in (self._stages, self._cells):
                for key in await asyncio.to_thread(leases.renew):
                    if (flight := self._under_lease.get((leases, key))) is not None:
                        flight.lost.set()

    async def _leased(
        self, leases: Leases, key: str, done: Callable[[], bool], make: Callable[[_UnderLease], Awaitable[None]]
    ) -> None:
        """Make something under its lease, unless it is done by then: another driver has made it, or does now."""
        while not done():
            if not leases.take(key):
                await asyncio.sleep(WAIT_SECONDS)
                continue
            flight = self._under_lease[leases, key] = _UnderLease()
            work, lost = asyncio.ensure_future(make(flight)), asyncio.ensure_future(flight.lost.wait())
            try:
                await asyncio.wait({work, lost}, return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    return work.result()
                # Another driver took this one for dead and works on it: what is under way here is of no use.
                flight.stop()
                with suppress(Exception, asyncio.CancelledError):
                    await work
            finally:
                lost.cancel()
                del self._under_lease[leases, key]
                leases.release(key)

    async def _once(self, key: str, make: Callable[[], Awaitable[Any]]) -> Any:
        if key not in self._flights:
            self._flights[key] = asyncio.ensure_future(make())
        return await asyncio.shield(self._flights[key])

    async def _run(self, fingerprint: str) -> dict[str, Any] | None:
        planned = self.plan.cells[fingerprint]
        made: list[dict[str, Any]] = []

        async def make(flight: _UnderLease) -> None:
            made.append(await flight.task(self._detection(planned)))

        try:
            if self._halted:
                return None
            await self._before(planned)
            async with self._detecting:
                if self._halted:
                    return None
                await self._leased(self._cells, fingerprint, lambda: self.results.has(fingerprint), make)
            row = made[0] if made else self.results.row(fingerprint)
        except Exception as error:
            if not self._halted:
                self._record_failure(planned, error)
                if self._fail_fast:
                    self._halt()
            return None
        finally:
            self._decoded.release(planned)
        self.rows[fingerprint] = row
        with suppress(OSError):
            self.results.forget_failure(fingerprint)
        if made:
            self.progress.executed["detection"] += 1
            await self._add_costs(planned, row)
        self.progress.cells_done += 1
        self.progress.cell_seconds += row["seconds_fit"] + row["seconds_score"]
        return row

    def _halt(self) -> None:
        """The first failure ends the run: what is under way is stopped, what waits is not begun."""
        self._halted = True
        for flight in self._under_lease.values():
            flight.stop()

    async def _add_costs(self, planned: PlannedCell, row: dict[str, Any]) -> None:
        detector, device = planned.cell.detector, device_of(self.resources.detector_gpus)
        images = len(planned.support.ids) + planned.cell.copies
        await self.add_cost(fit_cost(detector, device), Cost(row["seconds_fit"], images))
        await self.add_cost(score_cost(detector, device), Cost(row["seconds_score"], row["n_test"]))
        if planned.prompt is not None and row.get("seconds_prompt") is not None:
            kind = prompt_cost(self.plan.prompts[planned.prompt].encoder)
            await self.add_cost(kind, Cost(row["seconds_prompt"], 1))

    def _detection(self, planned: PlannedCell) -> Any:
        """The reference to a cell's row, which is being made."""
        return _detect.options(num_cpus=self.resources.detector_cpus, num_gpus=self.resources.detector_gpus).remote(
            planned,
            self._decoded.support(planned.support),
            self._decoded.test(planned.support.shard, planned.cell.detector.image_size),
            self.store_uri,
            self.out,
            "cuda" if self.resources.detector_gpus else "cpu",
            int(self.resources.detector_cpus),
            *self._decoded.features(planned),
        )

    async def _before(self, planned: PlannedCell) -> None:
        """The stages that a cell stands on, in order."""
        shard = planned.support.shard
        await self._once(shard, lambda: self._shard(shard))
        if planned.prompt is not None:
            prompt = self.plan.prompts[planned.prompt]
            await self._once(prompt.key, lambda: self._prompt(prompt))
        stage = self.plan.generators.get(planned.generator or "")
        clip = self.plan.vqgan_clip.get(planned.image_set or "")
        training = stage or (clip.training if clip else None)
        if training is not None and (variation := training.variation) is not None:
            await self._once(variation.key, lambda: self._variation(variation))
        if stage is not None:
            await self._once(stage.flight, lambda: self._generator(stage))
        if clip is not None:
            await self._once(clip.key, lambda: self._vqgan_clip(clip))

    async def _stage(self, key: str, kind: str, start: Callable[[], Any]) -> None:
        """A stage of one Ray task, unless the store has its artifact."""

        async def make(flight: _UnderLease) -> None:
            await flight.task(start())
            self.progress.executed[kind] += 1

        await self._leased(self._stages, key, lambda: self.store.has(key), make)

    async def _shard(self, key: str) -> None:
        category = self.plan.category(key)
        await self._stage(
            key, "shard", lambda: _make_shards.remote(category.samples, key, self.store_uri, category.source)
        )

    async def _prompt(self, stage: PromptStage) -> None:
        await self._stage(
            stage.key,
            "prompt",
            lambda: _rank_prompts.remote(stage, self._decoded.support(stage.support), self.store_uri),
        )

    async def _variation(self, stage: VariationStage) -> None:
        if self.store.has(stage.key):
            return
        await asyncio.gather(*(self._once(s.shard, partial(self._shard, s.shard)) for s in stage.sources))
        await self._stage(stage.key, "variation", lambda: _make_variation.remote(stage, self.store_uri))

    async def _generator(self, stage: GeneratorStage) -> None:
        await self._pooled(
            stage, stage.flight, "generator", lambda: all(self.store.has(s.key) for s in stage.image_sets)
        )

    async def _vqgan_clip(self, stage: VQGANClipStage) -> None:
        await self._pooled(stage, stage.key, "vqgan_clip", lambda: self.store.has(stage.key))

    async def _pooled(
        self, stage: GeneratorStage | VQGANClipStage, key: str, kind: str, done: Callable[[], bool]
    ) -> None:
        """A stage of a generator actor, unless what is wanted of it is in the store."""

        async def make(flight: _UnderLease) -> None:
            originals = self._decoded.support(stage.support)
            flight.stop = lambda: self._pool.stop(stage)
            await self._pool.make(stage, originals, ray.get_runtime_context().current_actor)
            self.progress.executed[kind] += 1

        await self._leased(self._stages, key, done, make)

    def _start_generator_actor(self) -> Any:
        cpus, gpus = self.resources.generator_cpus, self.resources.generator_gpus
        device = "cuda" if gpus else "cpu"
        return GeneratorActor.options(num_cpus=cpus, num_gpus=gpus).remote(self.store_uri, device, int(cpus))

    def _expect(self, fingerprints: list[str]) -> None:
        """Count what these cells will take, for the progress bars."""
        planned = [self.plan.cells[f] for f in fingerprints]
        self.progress.cells_total += len(planned)
        self._decoded.expect(planned)
        for flight in {p.generator for p in planned if p.generator}:
            missing = [s.iterations for s in self.plan.generators[flight].image_sets if not self.store.has(s.key)]
            self.progress.steps_total += max(missing, default=1) - 1

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


Broker = ray.remote(num_cpus=0, max_concurrency=100_000)(Flights)
"""The actor. It and whoever waits for it take no resources: a trial that held a CPU while waiting for a stage that
needs one would wait for ever."""


def describe(planned: PlannedCell) -> str:
    """A cell in words: category, seed, arm, detector and, if generated, its point."""
    cell = planned.cell
    point = f" {cell.generation.point.label()}" if cell.generation else f" copies={cell.copies}"
    return f"{cell.category} seed={cell.seed} {cell.label}{point} {cell.detector.label}"
