"""Write and read the results of studies: first one file per finished cell, later Parquet tables.

A cell is finished when its file, which holds its row, scores and metrics, is in ``finished/``; the file is written
atomically. Every few seconds of a run, and at the end of the run, `goodshot.runner.results.compaction` moves finished
cells into the Parquet files of ``results/``, ``scores/`` and ``metrics/``. This module reads both places and returns
each cell once, even if the cell ran twice or a process died while moving it: if ``results/`` has the row of a cell, the
cell is read from the tables, otherwise from its own file.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from goodshot.components.errors import GoodshotError
from goodshot.runner.cells import CellStage, Measured
from goodshot.runner.results.finished import Damaged, FinishedCells
from goodshot.runner.results.parts import Parts, without
from goodshot.runner.results.tables import CELL_TABLES, TRIAL, Tables
from goodshot.runner.store.files import Files

T = TypeVar("T")

# Dictionaries and statistics speed up reading many rows, but take a third of the time of writing a few rows. Arrow's
# schema is not stored, because the types are known.
_OF_FEW_ROWS: Mapping[str, Any] = {"use_dictionary": False, "write_statistics": False, "store_schema": False}
_LOOKS = 8
_LOOK_PAUSE = 0.05


class Results:
    """The tables below one ``--out`` folder or URI."""

    def __init__(self, uri: str, tables: Tables | None = None) -> None:
        self.uri = uri
        self.files = Files(uri)
        self.tables = tables or Tables.known()
        self.single = FinishedCells(self.files, self.tables)
        self.parts = Parts(self.files, self.tables)

    def __reduce__(self) -> tuple[type[Results], tuple[str, Tables]]:
        return Results, (self.uri, self.tables)

    def at(self, uri: str) -> Results:
        """Return the same tables below another URI, for example a URI that every node can read."""
        return Results(uri, self.tables)

    def append_cell(self, stage: CellStage, measured: Measured, device: str) -> dict[str, Any]:
        """Write the row, scores and metrics of a cell atomically. Returns the row."""
        own = {"fingerprint": stage.fingerprint}
        row = _defined({**stage.columns, **measured.columns, "device": device, **own, **software()})
        if unknown := row.keys() - {*self.tables.row.names}:
            raise TypeError(f"{stage.kind}: no arm and no kind of cell declares the columns {sorted(unknown)}")
        scores = [{**own, **score} for score in measured.scores]
        self.append(stage.fingerprint, row, scores, [{**own, **asdict(value)} for value in measured.metrics])
        return row

    def append(
        self,
        fingerprint: str,
        row: Mapping[str, Any],
        scores: Sequence[Mapping[str, Any]],
        metrics: Sequence[Mapping[str, Any]],
    ) -> None:
        """Write one finished cell atomically."""
        self.single.write(fingerprint, row, scores, metrics)

    def append_failure(self, fingerprint: str, study: str, cell: str, error: str, log: str) -> None:
        """Record the failure of a cell and its number of failures; later runs try the cell again, up to a limit."""
        tries = self.tries().get(fingerprint, 0) + 1
        row = {"fingerprint": fingerprint, "study": study, "cell": cell, "error": error, "log": log, "tries": tries}
        text = f"{study}: {cell}\n{fingerprint}, try {tries}\n{error}\n\n{log.rstrip()}\n"
        self.files.write(log_name(fingerprint), text.encode())
        self._write("failures", fingerprint, [row])

    def tries(self) -> dict[str, int]:
        """Return how often each failed cell has been tried, by fingerprint."""
        return {row["fingerprint"]: row["tries"] or 1 for row in self.read("failures").to_pylist()}

    def forget_failure(self, fingerprint: str) -> None:
        """Delete the failure record and the log of a cell that has finished."""
        self.files.delete(f"failures/{fingerprint}.parquet")
        self.files.delete(log_name(fingerprint))

    def write_trial(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the rows of a trial, replacing earlier rows of the same trial."""
        self._write("trials", name, [{column: row.get(column) for column in TRIAL.names} for row in rows])

    def finished(self) -> set[str]:
        """Return the fingerprints of the finished cells."""
        # Cells move from their own files into tables, so all methods look at the files first and then at the tables.
        single = set(self.single.names())
        return single | self._settled(lambda: self.parts.all_fingerprints("results"))

    def has(self, fingerprint: str) -> bool:
        """Return whether the cell is finished."""
        return self.single.has(fingerprint) or self._part_of(fingerprint) is not None

    def row(self, fingerprint: str, columns: Sequence[str] = ()) -> dict[str, Any]:
        """Return the row of a finished cell, or only some columns. Raises KeyError if the cell is not finished."""
        wanted = list(columns or self.tables.row.names)
        with suppress(FileNotFoundError):
            row = self.single.row(fingerprint)
            return _defined({name: row[name] for name in wanted})

        def look() -> dict[str, Any]:
            part = self._part_of(fingerprint)
            if part is None:
                raise KeyError(fingerprint)
            schema = pa.schema([self.tables.row.field(name) for name in {*wanted, "fingerprint"}])
            found = self.parts.read(part, schema=schema, filters=[("fingerprint", "=", fingerprint)])
            return _defined(found.select(wanted).slice(0, 1).to_pylist()[0])

        return self._settled(look)

    def rows(self, columns: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
        """Return the rows of all finished cells by fingerprint. For very many cells, restrict the columns."""
        wanted = dict.fromkeys(["fingerprint", *columns]) if columns else ()
        return {row["fingerprint"]: row for row in _plain(self.read("results", tuple(wanted)))}

    def read(self, table: str, columns: Sequence[str] = ()) -> pa.Table:
        """Read the table ``results``, ``scores``, ``metrics``, ``failures`` or ``trials``; empty if it has no file.

        Args:
            columns: the names of the columns to read; empty for all columns.
        """
        found = self._of_cells(table, columns) if table in CELL_TABLES else self._changing(table)
        return found.select(columns or found.column_names)

    def schemas(self) -> dict[str, pa.Schema]:
        """Return the schema of each Parquet file of ``results/``; files of other versions may have other columns."""
        return self._settled(lambda: {name: self.parts.schema(name) for name in self.parts.names("results")})

    def _of_cells(self, table: str, columns: Sequence[str]) -> pa.Table:
        wanted = {"fingerprint", *columns} if columns else {*self.tables[table].names}
        schema = pa.schema([field for field in self.tables[table] if field.name in wanted])

        def look_single() -> tuple[set[str], pa.Table]:
            names = self.single.names()
            return set(names), self.single.of_table(self.single.read([*names.values()]), table).select(schema.names)

        single, own = self._settled(look_single)
        read: dict[str, pa.Table] = {}

        def look() -> pa.Table:
            """Read the files that were not read yet. Rows stay in memory even if a compaction deletes their file."""
            moved = self.parts.known("results", single) if single else set()
            seen, found = single - moved, [schema.empty_table(), without(own, moved)]
            for name in self.parts.names(table):
                if name not in read:
                    read[name] = self.parts.read(name, schema=schema)
                rows = read[name]
                there = set(rows["fingerprint"].unique().to_pylist())
                found.append(without(rows, there & seen))
                seen |= there
            return pa.concat_tables(found)

        return self._settled(look)

    def _changing(self, table: str) -> pa.Table:
        """Read a table of small files, which this or another driver may replace or delete at any time."""
        found = [self.tables[table].empty_table()]
        for name in self.files.names(table, ".parquet"):
            with suppress(FileNotFoundError):
                found.append(self._small(name, self.tables[table]))
        return pa.concat_tables(found)

    def _small(self, name: str, schema: pa.Schema) -> pa.Table:
        """Read a small Parquet file. ``read_table``, made for large data sets, takes three times as long."""
        content = self.files.read(name)
        try:
            rows = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
            # Only read_table adds the columns that a file of an earlier version lacks.
            return rows if rows.schema == schema else pq.read_table(pa.BufferReader(content), schema=schema)
        except (pa.ArrowInvalid, OSError) as error:
            what = str(error).splitlines()[0]
            raise Damaged(f"{self.files.where(name)}: is damaged ({what}); delete it, run the study again") from error

    def _part_of(self, fingerprint: str) -> str | None:
        """Return the name of the Parquet file that holds a cell's row; None if there is no such file."""

        def look() -> str | None:
            names = self.parts.names("results")
            return next((name for name in names if fingerprint in self.parts.fingerprints(name)), None)

        return self._settled(look)

    def _settled(self, look: Callable[[], T]) -> T:
        """Call ``look``, and call it again if a compaction has deleted a file between its listing and its reading."""
        for _ in range(_LOOKS):
            try:
                return look()
            except FileNotFoundError as error:
                gone = error
                time.sleep(_LOOK_PAUSE)
        raise GoodshotError(f"{self.files.shown}: its files change faster than they are read ({gone}); try again later")

    def _write(self, table: str, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        # All columns are converted at once: Table.from_pylist converts them singly and takes more than twice as long.
        structs = pa.array([dict(row) for row in rows], pa.struct(list(self.tables[table])))
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_struct_array(structs), sink, **_OF_FEW_ROWS)
        self.files.write(f"{table}/{name}.parquet", sink.getvalue())


def _defined(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row with None (NULL in Parquet) for undefined metrics, for which earlier versions wrote NaN."""
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}


def _plain(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield a table's rows, with None for undefined metrics as in :func:`_defined`.

    A row has values in a third of its columns only, so columns without any value are not converted row by row.
    """
    empty = dict.fromkeys(table.column_names)
    filled = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_floating(column.type):
            column = pc.if_else(pc.is_nan(column), None, column)
        if column.null_count < len(column):
            filled[name] = column.to_pylist()
    for values in zip(*filled.values(), strict=True):
        yield {**empty, **dict(zip(filled, values, strict=True))}


def log_name(fingerprint: str) -> str:
    """Return the name of the text file with a failed cell's error and traceback."""
    return f"logs/{fingerprint[:16]}.log"


@lru_cache
def software() -> dict[str, str]:
    """Return the columns ``commit`` and ``versions``, which identify the code that computed a row."""
    names = ("goodshot", "torch", "anomalib", "timm", "ray", "accelerate", "open_clip_torch", "nltk", "pyarrow")
    versions = {name: importlib.metadata.version(name) for name in names}
    return {"commit": _commit(), "versions": json.dumps(versions)}


def _commit() -> str:
    """Return the checkout's commit, with ``+`` if it has changes; empty if goodshot does not run from a checkout."""
    checkout = Path(__file__).resolve().parents[2]
    try:
        if _git("rev-parse", "--show-toplevel", cwd=checkout) != str(checkout):
            return ""
        return _git("describe", "--always", "--dirty=+", "--abbrev=40", "--exclude=*", cwd=checkout)
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
