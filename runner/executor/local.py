"""The local executor: runs stages and cells one after another in this process, without Ray.

It follows the same rules as the Ray executor: the stages that a stage depends on are made first, a training is run once
for all image sets that are requested from it, and a stage that failed is not tried again in the same run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from goodshot.components.errors import GoodshotError
from goodshot.runner.cells import CellStage
from goodshot.runner.executor.failures import record_failure
from goodshot.runner.executor.mending import DAMAGED, take_back_damaged
from goodshot.runner.executor.progress import Progress
from goodshot.runner.plan.plan import Plan
from goodshot.runner.results.results import Results
from goodshot.runner.stages.base import Context, SharedValue, Stage, TrainTogether, Warm
from goodshot.runner.store.artifacts import Store

VALUES = 6
"""The number of shared values that are kept in memory; the cells of one category need no more."""


class LocalExecutor:
    """Makes the stages of a plan and runs its cells.

    Args:
        results: where the rows of cells are appended; None if only stages are made.
        device: ``cpu`` or ``cuda``, for every stage.
        train_together: see :class:`Context`.
        on_step: called with the number of updates that a training has made so far.
        threads: maps a stage to its number of torch threads; None leaves torch's own number.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        results: Results | None = None,
        device: str = "cpu",
        train_together: TrainTogether | None = None,
        on_step: Callable[[int], object] = lambda updates: None,
        threads: Callable[[Stage], int] | None = None,
    ) -> None:
        self.plan, self.store, self.results = plan, store, results
        self.progress, self._on_step = Progress(), on_step
        self._device, self._train_together, self._threads = device, train_together, threads
        self._warm: Warm[Any] = Warm()
        self._values: Warm[Any] = Warm(VALUES)
        self._failed: dict[str, Exception] = {}
        self._requested: dict[str, dict[str, Stage]] = {}
        self._requested_cells: set[str] = set()
        self._outcomes = results.rows(results.tables.outcome) if results is not None else {}
        self._tried: set[str] = set()

    def run(self, fingerprints: Sequence[str], fail_fast: bool = False) -> list[dict[str, Any] | None]:
        """Run the unfinished cells. Returns all outcomes in order, None for a cell without a row.

        Args:
            fail_fast: whether to stop at the first cell that fails.
        """
        missing = [self.plan.cells[f] for f in dict.fromkeys(fingerprints) if f not in self._outcomes]
        missing = [cell for cell in missing if cell.fingerprint not in self._tried]
        self.want(missing)
        for cell in missing:
            if not self._run_cell(cell) and fail_fast:
                break
        return [self._outcomes.get(f) for f in fingerprints]

    def want(self, cells: Iterable[CellStage]) -> None:
        """Request the products that these cells need. A training ends at the last requested image set."""
        new_cells = {cell.fingerprint: cell for cell in cells if cell.fingerprint not in self._requested_cells}
        self._requested_cells |= new_cells.keys()
        self.progress.cells_total += len(new_cells)
        for producer, products in self.plan.products(new_cells.values()).items():
            requested = self._requested.setdefault(producer, {})
            steps_before = self.plan.stages[producer].steps([*requested.values()])
            new = (stage for stage in products if stage.id not in requested)
            requested |= {stage.id: stage for stage in new if not stage.is_made(self.store)}
            self.progress.steps_total += self.plan.stages[producer].steps([*requested.values()]) - steps_before

    def make(self, id_: str) -> None:
        """Make a stage, after all stages that it depends on, unless the store holds it. Raises the error of a stage."""
        stage = self.plan.stages[id_]
        if stage.is_made(self.store):
            return
        self._make_before(stage)
        producer = self.plan.producer(stage)
        if producer.id in self._failed:
            # Each raise adds frames to the traceback, and these frames keep a generator in memory.
            raise self._failed[producer.id].with_traceback(None)
        try:
            producer.run(self._context(producer), self._products_to_make(producer, stage))
        except Exception as error:
            self._failed[producer.id] = error
            # A product that was committed before its producer failed is valid.
            if not stage.is_made(self.store):
                raise
        self.progress.executed[producer.kind] += 1

    def _make_before(self, stage: Stage) -> None:
        for input_ in self.plan.before(stage):
            self.make(input_.id)

    def _products_to_make(self, producer: Stage, needed_now: Stage) -> list[Stage]:
        """Return ``needed_now`` and its producer's other requested products, unless they depend on a failed stage."""
        products = {needed_now.id: needed_now}
        for product in self._requested.get(producer.id, {}).values():
            with suppress(Exception):  # the cells that need this product fail with the same error, and record it
                if not product.is_made(self.store):
                    self._make_before(product)
                    products[product.id] = product
        return [*products.values()]

    def _run_cell(self, cell: CellStage, again: bool = False) -> bool:
        """Run a cell and append its row, or record its failure. Returns whether the cell has finished."""
        results = self._results()
        self._tried.add(cell.fingerprint)
        try:
            for id_ in cell.inputs:
                self.make(id_)
            began = time.perf_counter()
            measured = cell.run(self._context(cell), [cell])
            row = results.append_cell(cell, measured, self._device)
            self._outcomes[cell.fingerprint] = {name: row.get(name) for name in results.tables.outcome}
            self.progress.cell_took(time.perf_counter() - began)
        except Exception as error:
            if not again and self._take_back_damaged(cell):
                return self._run_cell(cell, again=True)
            record_failure(results, cell, error, error)
            error.__traceback__ = None
            self.progress.cells_failed += 1
            self.progress.cells_done += 1
            return False
        self.progress.cells_done += 1
        with suppress(OSError, GoodshotError):
            results.forget_failure(cell.fingerprint)
        self.progress.executed[cell.kind] += 1
        return True

    def _take_back_damaged(self, cell: CellStage) -> bool:
        """Forget what is known of artifacts that turn out to be damaged. Returns whether there were any."""
        if not (damaged := take_back_damaged(self.plan, self.store, cell)):
            return False
        self._values = Warm(VALUES)
        for stage in damaged:
            producer = self.plan.producer(stage)
            self._failed.pop(producer.id, None)
            self._requested.setdefault(producer.id, {})[stage.id] = stage
        self.progress.retries[DAMAGED] += 1
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
            measured=partial(self.progress.measured, takes=stage.takes),
            train_together=self._train_together,
            warm=self._warm,
        )

    def _stepped(self, stage: str, updates: int, steps: int, seconds: float) -> None:
        self.progress.stepped(stage, steps, seconds)
        self._on_step(updates)

    def _read(self, value: SharedValue) -> Any:
        loaded = self._values.take(value)
        if loaded is None:
            inputs = [self._read(input_) for input_ in value.inputs]
            # Wrapped in a tuple, because a value may itself be None (features that are too large).
            loaded = (value.load(self.store, inputs, self._device, 1),)
        self._values.keep(value, loaded)
        return loaded[0]

    def _results(self) -> Results:
        if self.results is None:
            raise ValueError("this executor was given no results to append rows to")
        return self.results
