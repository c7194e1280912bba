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
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        results: Results | None = None,
        device: str = "cpu",
        train_together: Any = None,
        on_step: Callable[[int], object] = lambda made: None,
    ) -> None:
        self.plan, self.store, self.results = plan, store, results
        self.progress, self._on_step = Progress(), on_step
        self._device, self._train_together = device, train_together
        self._warm: Warm[Any] = Warm()
        self._values: Warm[Any] = Warm(VALUES)
        self._failed: dict[str, Exception] = {}
        self._wanted: dict[str, list[Stage]] = {}
        self._outcomes = results.rows(results.tables.outcome) if results is not None else {}
        self._tried: set[str] = set()

    def run(self, fingerprints: Sequence[str], fail_fast: bool = False) -> list[dict[str, Any] | None]:
        """Run cells, each unless it is finished. Returns what trials are judged by of each; None of a failed cell."""
        missing = [self.plan.cells[f] for f in fingerprints if f not in self._outcomes and f not in self._tried]
        self.want(missing)
        self.progress.cells_total += len(missing)
        for cell in missing:
            if not self._run_cell(cell) and fail_fast:
                break
        return [self._outcomes.get(f) for f in fingerprints]

    def want(self, cells: Iterable[CellStage]) -> None:
        """These cells will be run: a training goes on to the furthest image set that one of them needs."""
        for producer, products in self.plan.products(cells).items():
            wanted = self._wanted.setdefault(producer, [])
            before = self.plan.stages[producer].steps(wanted)
            wanted += [stage for stage in products if stage not in wanted and not stage.is_made(self.store)]
            self.progress.steps_total += self.plan.stages[producer].steps(wanted) - before

    def make(self, id_: str) -> None:
        """Make a stage and all that it stands on, unless it is made. Raises what a stage raises."""
        stage = self.plan.stages[id_]
        if stage.is_made(self.store):
            return
        for before in self.plan.before(stage):
            if before.is_artifact:
                self.make(before.id)
        producer = self.plan.producer(stage)
        if producer.id in self._failed:
            raise self._failed[producer.id]
        wanted = [each for each in self._wanted.get(producer.id, []) if not each.is_made(self.store)]
        if stage not in wanted:
            wanted = [*wanted, stage]
        for product in wanted:
            for before in self.plan.before(product):
                if before.is_artifact:
                    self.make(before.id)
        try:
            producer.run(self._context(producer.id), wanted)
        except Exception as error:
            self._failed[producer.id] = error
            raise
        self.progress.executed[producer.kind] += 1

    def _run_cell(self, cell: CellStage) -> bool:
        results = self._results()
        self._tried.add(cell.fingerprint)
        try:
            for id_ in cell.inputs:
                self.make(id_)
            began = time.perf_counter()
            measured = cell.run(self._context(cell.id), [cell])
            row = results.append_cell(cell, measured, self._device)
            self._outcomes[cell.fingerprint] = {name: row.get(name) for name in results.tables.outcome}
            self.progress.cell_seconds += time.perf_counter() - began
        except Exception as error:
            record_failure(results, cell, error, error)
            self.progress.cells_failed += 1
            return False
        finally:
            self.progress.cells_done += 1
        with suppress(OSError, GoodshotError):
            results.forget_failure(cell.fingerprint)
        self.progress.executed[cell.kind] += 1
        return True

    def _context(self, stage: str) -> Context:
        return Context(
            store=self.store,
            read=self._read,
            device=self._device,
            stepped=partial(self._stepped, stage),
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
            held = value.load(self.store, inputs, self._device, 1)
        self._values.keep(value, held)
        return held

    def _results(self) -> Results:
        if self.results is None:
            raise ValueError("this executor was given no results to append rows to")
        return self.results
