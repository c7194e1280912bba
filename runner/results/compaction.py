"""Move finished cells from their own files into the tables' Parquet files, and merge many Parquet files into one.

Drivers that share an ``--out`` compact it one at a time, under a lease. A file is deleted only after its content has
been written completely to another file, so a process that is killed between these two steps leaves cells in two files.
:class:`Results` counts such cells once, and :func:`tidy` deletes the copies before and after the next run, for programs
that read the Parquet files directly.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress

from goodshot.components.errors import GoodshotError
from goodshot.runner.results.finished import BATCH, Damaged
from goodshot.runner.results.parts import size_of, without
from goodshot.runner.results.results import Results
from goodshot.runner.results.tables import CELL_TABLES
from goodshot.runner.store.leases import BEAT_SECONDS, STALE_SECONDS, Leases

COMPACT_SECONDS = 15.0
"""Pause between two compactions of a run. The Parquet files lack the cells that have finished since the last one."""
AT_ONCE = BATCH
"""Number of cells that are moved in one step. A step takes seconds, even on an object store that is slow per file."""
MANY_PARTS = 8
"""Minimum number of Parquet files of one size that are merged into one file of the next size."""
LARGEST = 3
"""The size whose files are not merged again, so that no row is merged more than three times.

Such a file holds the rows of at least 8³ files of size 0; a file of size 0 holds the cells of one step.
"""
LEASE = "compaction"
PATIENCE_SECONDS = STALE_SECONDS + 2 * BEAT_SECONDS
"""How long to wait for another driver's compaction. The lease of a driver that has died is free by then."""
LAST_SECONDS = 2.0
"""Time limit of the last compaction of a run that is stopped."""


def compact(results: Results, is_over: Callable[[], bool] = lambda: False) -> None:
    """Move finished cells into the tables' Parquet files, and merge Parquet files if there are many.

    Args:
        is_over: called between two steps; True stops the compaction. Cells that are not moved yet stay readable.
    """
    _move_cells(results, is_over)
    for table in CELL_TABLES:
        for size in range(LARGEST):
            parts = [name for name in results.parts.names(table) if size_of(name) == size]
            if len(parts) >= MANY_PARTS and not is_over():
                results.parts.write(table, size + 1, results.parts.unique(parts))
                results.files.each(results.files.delete, parts)


def forget(results: Results, fingerprints: Collection[str]) -> None:
    """Remove cells from every table, so that they count as not run. Call it within :func:`compacting` only."""
    was_in_tables = True
    while was_in_tables:
        single = results.single.names()
        results.single.delete([single[fingerprint] for fingerprint in fingerprints if fingerprint in single])
        # `results` is the last of the tables: a process that is killed in between leaves a row without scores, which
        # `goodshot verify` finds. The loop repeats until no file holds the cells, because another driver that took
        # over the lease may have merged files that were just read.
        was_in_tables = any([results.parts.drop(table, fingerprints) for table in CELL_TABLES])


@contextmanager
def compacting(results: Results, patience: float = 0.0) -> Iterator[bool]:
    """Hold the compaction lease of this ``--out`` during a ``with`` block. Yields whether it was acquired.

    Args:
        patience: how many seconds to wait while another driver holds the lease.
    """
    leases, until = Leases(results.uri), time.monotonic() + patience
    try:
        while not (mine := leases.take(LEASE)) and time.monotonic() < until:
            time.sleep(0.1)
        with _renewed(leases):
            yield mine
    finally:
        leases.close()


def tidy(results: Results, patience: float = 0.0, seconds: float | None = None) -> str:
    """Compact an ``--out`` before or after a run, and delete copies of cells. It never fails the run.

    Args:
        patience: how many seconds to wait while another driver compacts.
        seconds: time limit; None for no limit.

    Returns:
        The reason why nothing or not everything was done; empty if there is none, or if the time limit was reached.
    """
    try:
        if not _is_wanted(results):
            return ""
        with compacting(results, patience) as mine:
            until = time.monotonic() + seconds if seconds is not None else float("inf")
            if mine:
                compact(results, lambda: time.monotonic() > until)
                _drop_copies(results, lambda: time.monotonic() > until)
        return "" if mine else "another driver is moving cells"
    except Exception as error:  # after any error, every cell is still complete in one file at least
        return str(error) or type(error).__name__


class Compaction:
    """Compacts an ``--out`` every few seconds, in a thread beside an event loop."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._ended = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def keep(self) -> None:
        """Start the compaction, unless it has been started already."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def end(self) -> None:
        """Stop the compaction after the step that is running."""
        self._ended.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        results = Results(self._results.uri, self._results.tables)
        while not self._ended.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), COMPACT_SECONDS)
                return
            await asyncio.to_thread(self._once, results)

    def _once(self, results: Results) -> None:
        # A full disk or an unreachable store does not end the compaction: the cells stay in their own files, and the
        # next attempt moves them.
        with suppress(Exception), compacting(results) as mine:
            if mine:
                compact(results, self._ended.is_set)


def _is_wanted(results: Results) -> bool:
    if results.single.names():
        return True
    # `results` would keep the fingerprints that are read here in memory; a separate object is freed on return.
    parts = results.at(results.uri).parts
    return any(len(parts.names(table)) >= MANY_PARTS or parts.has_copies(table) for table in CELL_TABLES)


def _drop_copies(results: Results, is_over: Callable[[], bool]) -> None:
    parts = results.at(results.uri).parts
    for table in CELL_TABLES:
        if not is_over() and parts.has_copies(table):
            parts.drop_copies(table)


@contextmanager
def _renewed(leases: Leases) -> Iterator[None]:
    """Renew leases in a thread during a ``with`` block, which may take long."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(BEAT_SECONDS):
            with suppress(OSError, GoodshotError):
                leases.renew()

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _move_cells(results: Results, is_over: Callable[[], bool]) -> None:
    single = results.single.names()
    everything = sorted(single)
    for start in range(0, len(everything), AT_ONCE):
        if is_over():
            return
        chosen = set(everything[start : start + AT_ONCE])
        names = [single[fingerprint] for fingerprint in chosen]
        try:
            cells = results.single.read(names)
        except Damaged:
            names = results.single.sound(names)
            cells = results.single.read(names)
        # Cells whose rows a killed compaction has moved already are only deleted here.
        cells = without(cells, results.parts.known("results", chosen))
        for table in CELL_TABLES:
            # A killed compaction may have left scores without a row. They may come from another execution of the cell
            # than its row here, so they are replaced.
            if stale := results.parts.known(table, set(cells["fingerprint"].to_pylist())):
                results.parts.drop(table, stale)
            results.parts.write(table, 0, [results.single.of_table(cells, table)])
        results.single.delete(names)
