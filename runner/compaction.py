"""Move finished cells from files of their own into the tables' Parquet files, and few of those into one.

Of all drivers that share an ``--out`` one does it at a time, under a lease. A file is deleted when what it held is
whole in another one: who is killed in between leaves cells in two files, which readers count once, and the next one
tidies up.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

import pyarrow as pa
import pyarrow.compute as pc

from components.errors import GoodshotError
from runner.leases import Leases
from runner.results import Results, of_table
from runner.tables import OF_CELLS, SCHEMAS

COMPACT_SECONDS = 15.0
"""Between two times in a run: the Parquet files lack no more than that."""
AT_ONCE = 1024
"""Cells that are moved at once."""
MANY_PARTS = 8
"""Parquet files of one size from which on they are made one of the next."""
LARGEST = 3
"""The size that is merged no further: 8³ times what a run of a few seconds gave. No row is rewritten more often."""
PART = re.compile(r"part-([0-9])-[0-9a-f]{12}\.parquet$")
LEASE = "compaction"
PATIENCE_SECONDS = 3.0


def compact(results: Results) -> None:
    """Move what is finished into the tables, and make one Parquet file of many."""
    _move_cells(results)
    for table in OF_CELLS:
        for size in range(LARGEST):
            _merge_parts(results, table, size)


def forget(results: Results, fingerprints: Collection[str]) -> None:
    """Take cells out of every table, so that they count as not run.

    Raises:
        GoodshotError: another driver moves the same files just now.
    """
    with _alone_with(results) as mine:
        if not mine:
            raise GoodshotError(f"{results.files.shown}: a run is moving these rows; give the command again")
        _forget(results, fingerprints)


def _forget(results: Results, fingerprints: Collection[str]) -> None:
    alone = results.alone()
    results.files.each(results.files.delete, [alone[f] for f in fingerprints if f in alone])
    # Rows go last: who is killed in between leaves a row without scores, which is found again.
    for table in OF_CELLS:
        for part in results.parts(table):
            if results.fingerprints(part).isdisjoint(fingerprints):
                continue
            (rows,) = results.unique(SCHEMAS[table], [part])
            results.write_part(_fresh(table, _size(part)), [_without(rows, fingerprints)])
            results.files.delete(part)


def compact_at_end(results: Results) -> None:
    """A run's last compaction, unless another driver is at it, which does it again after its own last cell."""
    # Whose lease was lost may find that another driver was quicker.
    with suppress(FileNotFoundError), _alone_with(results) as mine:
        if mine:
            compact(results)


class Compaction:
    """Compacts an ``--out`` every few seconds, beside an event loop."""

    def __init__(self, out: str, leases: Leases) -> None:
        # In a thread, hence with results of its own.
        self._results, self._leases = Results(out), leases
        self._ended = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def keep(self) -> None:
        """Begin, unless it has begun."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def end(self) -> None:
        """End, after what is under way."""
        self._ended.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while not self._ended.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), COMPACT_SECONDS)
                return
            # What is full or away for a moment is no reason to stop: the cells stay where they are.
            with suppress(OSError, GoodshotError), _compacting(self._leases) as mine:
                if mine:
                    await asyncio.to_thread(compact, self._results)


@contextmanager
def _compacting(leases: Leases, patience: float = 0.0) -> Iterator[bool]:
    """Whether nobody else compacts this ``--out`` meanwhile; waits so many seconds for that."""
    until = time.monotonic() + patience
    while not (mine := leases.take(LEASE)) and time.monotonic() < until:
        time.sleep(0.1)
    try:
        yield mine
    finally:
        leases.release(LEASE)


@contextmanager
def _alone_with(results: Results) -> Iterator[bool]:
    leases = Leases(results.uri)
    try:
        with _compacting(leases, PATIENCE_SECONDS) as mine:
            yield mine
    finally:
        leases.close()


def _move_cells(results: Results) -> None:
    alone = results.alone()
    if not alone:
        return
    # What is left of a killed compaction lies in a Parquet file already.
    known = {table: set().union(*map(results.fingerprints, results.parts(table))) for table in OF_CELLS}
    everything = sorted(alone)
    for start in range(0, len(everything), AT_ONCE):
        fingerprints = everything[start : start + AT_ONCE]
        names = [alone[fingerprint] for fingerprint in fingerprints]
        cells = results.cells(names)
        for table in OF_CELLS:
            rows = of_table(cells, table)
            if there := known[table].intersection(fingerprints):
                rows = _without(rows, there)
            results.write_part(_fresh(table, 0), [rows])
        results.files.each(results.files.delete, names)


def _merge_parts(results: Results, table: str, size: int) -> None:
    parts = [part for part in results.parts(table) if _size(part) == size]
    if len(parts) >= MANY_PARTS:
        results.write_part(_fresh(table, size + 1), results.unique(SCHEMAS[table], parts))
        results.files.each(results.files.delete, parts)


def _without(rows: pa.Table, fingerprints: Collection[str]) -> pa.Table:
    return rows.filter(pc.invert(pc.is_in(rows["fingerprint"], value_set=pa.array(sorted(fingerprints), pa.string()))))


def _fresh(table: str, size: int) -> str:
    return f"{table}/part-{size}-{uuid.uuid4().hex[:12]}.parquet"


def _size(part: str) -> int:
    """How often its rows have been merged; a file of another name is new to us."""
    found = PART.search(part)
    return int(found[1]) if found else 0
