"""Move finished cells from files of their own into the tables' Parquet files, and many of those into one.

Of all drivers that share an ``--out`` one does it at a time, under a lease. A file is deleted when what it held is
whole in another one: who is killed in between leaves cells in two files. :class:`Results` counts them once, and
:func:`tidy` deletes the copies before and after the next run, for programs that read the Parquet files directly.
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
"""Between two times in a run: the Parquet files lack no more than that."""
AT_ONCE = BATCH
"""Cells that are moved at once: in seconds, though an object store takes its time for each."""
MANY_PARTS = 8
"""Parquet files of one size from which on they are made one of the next."""
LARGEST = 3
"""The size that is merged no further: 8³ times what a run of a few seconds gave. No row is rewritten more often."""
LEASE = "compaction"
PATIENCE_SECONDS = STALE_SECONDS + 2 * BEAT_SECONDS
"""So long another one may be at it; by then a dead one's lease is free."""
LAST_SECONDS = 2.0
"""What a run that is stopped has for this."""


def compact(results: Results, is_over: Callable[[], bool] = lambda: False) -> None:
    """Move what is finished into the tables, and make one Parquet file of many.

    Args:
        is_over: whether to stop between two steps; what is left is as good where it lies.
    """
    _move_cells(results, is_over)
    for table in CELL_TABLES:
        for size in range(LARGEST):
            parts = [name for name in results.parts.names(table) if size_of(name) == size]
            if len(parts) >= MANY_PARTS and not is_over():
                results.parts.write(table, size + 1, results.parts.unique(parts))
                results.files.each(results.files.delete, parts)


def forget(results: Results, fingerprints: Collection[str]) -> None:
    """Take cells out of every table, so that they count as not run. To be called under :func:`compacting`."""
    left = True
    while left:
        single = results.single.names()
        results.single.delete([single[fingerprint] for fingerprint in fingerprints if fingerprint in single])
        # Rows go last: who is killed in between leaves a row without scores, which is found again. And again all of
        # it: one that took this lease for dead may have merged what was just read.
        left = any([results.parts.drop(table, fingerprints) for table in CELL_TABLES])


@contextmanager
def compacting(results: Results, patience: float = 0.0) -> Iterator[bool]:
    """Whether nobody else moves cells of this ``--out`` meanwhile; waits so many seconds for that."""
    leases, until = Leases(results.uri), time.monotonic() + patience
    try:
        while not (mine := leases.take(LEASE)) and time.monotonic() < until:
            time.sleep(0.1)
        with _renewed(leases):
            yield mine
    finally:
        leases.close()


def tidy(results: Results, patience: float = 0.0, seconds: float | None = None) -> str:
    """Compact before and after a run, which is none the worse if it cannot be: then the reason is returned.

    Args:
        patience: how long to wait for another driver that is at it.
        seconds: what it may take; None for as long as it takes.
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
    except Exception as error:  # whatever it is, cells are whole where they lie
        return str(error) or type(error).__name__


class Compaction:
    """Compacts an ``--out`` every few seconds, in a thread beside an event loop."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._ended = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def keep(self) -> None:
        """Begin, unless it has begun."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def end(self) -> None:
        """End, after the step that is under way."""
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
        # What is full or away for a moment is no reason to stop: the cells stay where they are.
        with suppress(Exception), compacting(results) as mine:
            if mine:
                compact(results, self._ended.is_set)


def _is_wanted(results: Results) -> bool:
    if results.single.names():
        return True
    # Another object, because the fingerprints of all scores are not to stay in memory.
    parts = results.at(results.uri).parts
    return any(len(parts.names(table)) >= MANY_PARTS or parts.has_copies(table) for table in CELL_TABLES)


def _drop_copies(results: Results, is_over: Callable[[], bool]) -> None:
    parts = results.at(results.uri).parts
    for table in CELL_TABLES:
        if not is_over() and parts.has_copies(table):
            parts.drop_copies(table)


@contextmanager
def _renewed(leases: Leases) -> Iterator[None]:
    """Renew leases beside something that may take its time."""
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
        # What one that was killed has moved already is only deleted.
        cells = without(cells, results.parts.known("results", chosen))
        for table in CELL_TABLES:
            # Scores without a row, which one that was killed has left, need not be those of this row.
            if stale := results.parts.known(table, set(cells["fingerprint"].to_pylist())):
                results.parts.drop(table, stale)
            results.parts.write(table, 0, [results.single.of_table(cells, table)])
        results.single.delete(names)
