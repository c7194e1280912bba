"""The executor of this process: stages and cells one after the other, without Ray.

It follows the rules of the plan that the Ray executor follows: what a stage stands on comes first, a training is run
once with all image sets that are wanted of it, and a stage that failed stays failed for the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from components.errors import GoodshotError
from runner.cells import CellStage
from runner.executor.failures import record_failure
from runner.executor.progress import Progress
from runner.plan.plan import Plan
from runner.results.results import Results
from runner.stages.base import Context, SharedValue, Stage, Warm
from runner.store.artifacts import Store

VALUES = 6
"""Shared values that are kept in memory: those of a category's cells."""


class LocalExecutor:
    """Makes the stages of a plan, and runs its cells.

    Args:
        results: where rows go; None to make stages alone.
        device: ``cpu`` or ``cuda``, for every stage.
        train_together: see :class:`Context`.
        on_step: told of the updates that a training has made by now.
        threads: what a stage computes with; None leaves that to torch.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        results: Results | None = None,
        device: str = "cpu",
        train_together: Any = None,
        on_step: Callable[[int], object] = lambda made: None,
        threads: Callable[[Stage], int] | None = None,
    ) -> None:
        self.plan, self.store, self.results = plan, store, results
        self.progress, self._on_step = Progress(), on_step
        self._device, self._train_together, self._threads = device, train_together, threads
        self._warm: Warm[Any] = Warm()
        self._values: Warm[Any] = Warm(VALUES)
        self._failed: dict[str, Exception] = {}
        self._wanted: dict[str, dict[str, Stage]] = {}
        self._expected: set[str] = set()
        self._outcomes = results.rows(results.tables.outcome) if results is not None else {}
        self._tried: set[str] = set()

    def run(self, fingerprints: Sequence[str], fail_fast: bool = False) -> list[dict[str, Any] | None]:
        """Run cells, each unless it is finished. Returns each cell's outcome, None where it failed."""
        missing = [self.plan.cells[f] for f in dict.fromkeys(fingerprints) if f not in self._outcomes]
        missing = [cell for cell in missing if cell.fingerprint not in self._tried]
        self.want(missing)
        for cell in missing:
            if not self._run_cell(cell) and fail_fast:
                break
        return [self._outcomes.get(f) for f in fingerprints]

    def want(self, cells: Iterable[CellStage]) -> None:
        """These cells will be run: a training goes on to the furthest image set that one of them needs."""
        fresh = {cell.fingerprint: cell for cell in cells if cell.fingerprint not in self._expected}
        self._expected |= fresh.keys()
        self.progress.cells_total += len(fresh)
        for producer, products in self.plan.products(fresh.values()).items():
            wanted = self._wanted.setdefault(producer, {})
            before = self.plan.stages[producer].steps([*wanted.values()])
            new = (stage for stage in products if stage.id not in wanted)
            wanted |= {stage.id: stage for stage in new if not stage.is_made(self.store)}
            self.progress.steps_total += self.plan.stages[producer].steps([*wanted.values()]) - before

    def make(self, id_: str) -> None:
        """Make a stage and all that it stands on, unless it is made. Raises what a stage raises."""
        stage = self.plan.stages[id_]
        if stage.is_made(self.store):
            return
        self._make_before(stage)
        producer = self.plan.producer(stage)
        if producer.id in self._failed:
            # Without the frames of its first raising, which grow with every raising and hold a generator.
            raise self._failed[producer.id].with_traceback(None)
        try:
            producer.run(self._context(producer), self._ready(producer, stage))
        except Exception as error:
            self._failed[producer.id] = error
            # The products that it has committed before it failed are good.
            if not stage.is_made(self.store):
                raise
        self.progress.executed[producer.kind] += 1

    def _make_before(self, stage: Stage) -> None:
        for before in self.plan.before(stage):
            self.make(before.id)

    def _ready(self, producer: Stage, asked: Stage) -> list[Stage]:
        """The products that are wanted of a producer, but those that stand on a stage that failed."""
        ready = {asked.id: asked}
        for product in self._wanted.get(producer.id, {}).values():
            with suppress(Exception):  # the cells of that product meet the failure too, and record it
                if not product.is_made(self.store):
                    self._make_before(product)
                    ready[product.id] = product
        return [*ready.values()]

    def _run_cell(self, cell: CellStage) -> bool:
        results = self._results()
        self._tried.add(cell.fingerprint)
        try:
            for id_ in cell.inputs:
                self.make(id_)
            began = time.perf_counter()
            measured = cell.run(self._context(cell), [cell])
            row = results.append_cell(cell, measured, self._device)
            self._outcomes[cell.fingerprint] = {name: row.get(name) for name in results.tables.outcome}
            self.progress.cell_seconds += time.perf_counter() - began
        except Exception as error:
            record_failure(results, cell, error, error)
            error.__traceback__ = None
            self.progress.cells_failed += 1
            return False
        finally:
            self.progress.cells_done += 1
        with suppress(OSError, GoodshotError):
            results.forget_failure(cell.fingerprint)
        self.progress.executed[cell.kind] += 1
        return True

    def _context(self, stage: Stage) -> Context:
        if self._threads is not None and stage.computes:
            import torch

            torch.set_num_threads(self._threads(stage))
        return Context(
            store=self.store,
            read=self._read,
            device=self._device,
            stepped=partial(self._stepped, stage.id),
            measured=self.progress.measured,
            train_together=self._train_together,
            warm=self._warm,
        )

    def _stepped(self, stage: str, made: int, steps: int, seconds: float) -> None:
        self.progress.stepped(stage, steps, seconds)
        self._on_step(made)

    def _read(self, value: SharedValue) -> Any:
        held = self._values.take(value)
        if held is None:
            inputs = [self._read(each) for each in value.inputs]
            # In a tuple, because a value may be None: features that are too large.
            held = (value.load(self.store, inputs, self._device, 1),)
        self._values.keep(value, held)
        return held[0]

    def _results(self) -> Results:
        if self.results is None:
            raise ValueError("this executor was given no results to append rows to")
        return self.results
