"""A study's results: each finished cell in a file of its own as it finishes, then in tables as Parquet.

A cell is finished when its file is in ``finished/``: its row, scores and metrics, whole or not at all. Every few
seconds of a run, and at its end, `goodshot.runner.results.compaction` moves such cells into the Parquet files of
``results/``, ``scores/`` and ``metrics/``. What is read here is both, each cell once, though it ran twice or was being
moved when a process died: its row in ``results/`` stands for all of it, and until that is there its own file does.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from goodshot.components.errors import GoodshotError
from goodshot.runner.cells import CellStage, Measured
from goodshot.runner.results.finished import Damaged, FinishedCells
from goodshot.runner.results.parts import Parts, without
from goodshot.runner.results.tables import CELL_TABLES, TRIAL, Tables
from goodshot.runner.store.files import Files

T = TypeVar("T")

# What helps to read many rows takes a third of the time to write a few. Their types are known without Arrow's schema.
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
        """The same tables below another URI, for example one that every node can read."""
        return Results(uri, self.tables)

    def append_cell(self, stage: CellStage, measured: Measured, device: str) -> dict[str, Any]:
        """Write what running a cell has found, all of it at once. Returns its row."""
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
        """Write one finished cell, all of it at once."""
        self.single.write(fingerprint, row, scores, metrics)

    def append_failure(self, fingerprint: str, study: str, cell: str, error: str, log: str) -> None:
        """Record that a cell failed, and how often by now; the next runs try it again, up to a limit."""
        tries = self.tries().get(fingerprint, 0) + 1
        row = {"fingerprint": fingerprint, "study": study, "cell": cell, "error": error, "log": log, "tries": tries}
        text = f"{study}: {cell}\n{fingerprint}, try {tries}\n{error}\n\n{log.rstrip()}\n"
        self.files.write(log_name(fingerprint), text.encode())
        self._write("failures", fingerprint, [row])

    def tries(self) -> dict[str, int]:
        """How often each failed cell has been tried."""
        return {row["fingerprint"]: row["tries"] or 1 for row in self.read("failures").to_pylist()}

    def forget_failure(self, fingerprint: str) -> None:
        """Drop a failure's record once its cell has finished."""
        self.files.delete(f"failures/{fingerprint}.parquet")
        self.files.delete(log_name(fingerprint))

    def write_trial(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep what is known of a trial, in place of what was."""
        self._write("trials", name, [{column: row.get(column) for column in TRIAL.names} for row in rows])

    def finished(self) -> set[str]:
        """Fingerprints of the finished cells."""
        # Cells move from their own files into tables, so they are looked for in this order, here as below.
        single = set(self.single.names())
        return single | self._settled(lambda: self.parts.all_fingerprints("results"))

    def has(self, fingerprint: str) -> bool:
        """Whether the cell is finished."""
        return self.single.has(fingerprint) or self._part_of(fingerprint) is not None

    def row(self, fingerprint: str, columns: Sequence[str] = ()) -> dict[str, Any]:
        """A finished cell's row, or some columns of it. Raises KeyError if it is not."""
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
        """The finished cells' rows by fingerprint; of hundreds of thousands better only the columns that are wanted."""
        wanted = dict.fromkeys(["fingerprint", *columns]) if columns else ()
        return {row["fingerprint"]: _defined(row) for row in self.read("results", tuple(wanted)).to_pylist()}

    def read(self, table: str, columns: Sequence[str] = ()) -> pa.Table:
        """One of the tables ``results``, ``scores``, ``metrics``, ``failures``, ``trials``; empty if there is none.

        Args:
            columns: those that are wanted; none for all.
        """
        found = self._of_cells(table, columns) if table in CELL_TABLES else self._changing(table)
        return found.select(columns or found.column_names)

    def schemas(self) -> dict[str, pa.Schema]:
        """The columns and types of each Parquet file of ``results/``; those of another version may be others."""
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
            """Read the files that are not read yet. Rows that were read are kept if a compaction deletes their file."""
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
        """A table whose files are replaced or deleted one by one, by other drivers perhaps."""
        found = [self.tables[table].empty_table()]
        for name in self.files.names(table, ".parquet"):
            with suppress(FileNotFoundError):
                found.append(self._small(name, self.tables[table]))
        return pa.concat_tables(found)

    def _small(self, name: str, schema: pa.Schema) -> pa.Table:
        """A small Parquet file's rows. Made for large data sets, read_table takes three times as long for one."""
        content = self.files.read(name)
        try:
            rows = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
            # It adds the columns, though, that a file of an earlier version lacks.
            return rows if rows.schema == schema else pq.read_table(pa.BufferReader(content), schema=schema)
        except (pa.ArrowInvalid, OSError) as error:
            what = str(error).splitlines()[0]
            raise Damaged(f"{self.files.where(name)}: is damaged ({what}); delete it, run the study again") from error

    def _part_of(self, fingerprint: str) -> str | None:
        """The Parquet file that holds a cell's row."""

        def look() -> str | None:
            names = self.parts.names("results")
            return next((name for name in names if fingerprint in self.parts.fingerprints(name)), None)

        return self._settled(look)

    def _settled(self, look: Callable[[], T]) -> T:
        """Look again where a file was moved into another one between its listing and its reading."""
        for _ in range(_LOOKS):
            try:
                return look()
            except FileNotFoundError as error:
                gone = error
                time.sleep(_LOOK_PAUSE)
        raise GoodshotError(f"{self.files.shown}: its files change faster than they are read ({gone}); try again later")

    def _write(self, table: str, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        # All columns in one go: Table.from_pylist converts them one by one, at more than twice the time.
        structs = pa.array([dict(row) for row in rows], pa.struct(list(self.tables[table])))
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_struct_array(structs), sink, **_OF_FEW_ROWS)
        self.files.write(f"{table}/{name}.parquet", sink.getvalue())


def _defined(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with None, NULL in Parquet, for a metric that is undefined; earlier versions wrote NaN."""
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}


def log_name(fingerprint: str) -> str:
    """Where a failed cell's error and traceback are, as text."""
    return f"logs/{fingerprint[:16]}.log"


@lru_cache
def software() -> dict[str, str]:
    """The columns ``commit`` and ``versions``: the code that made a row."""
    names = ("goodshot", "torch", "anomalib", "timm", "ray", "accelerate", "open_clip_torch", "nltk", "pyarrow")
    versions = {name: importlib.metadata.version(name) for name in names}
    return {"commit": _commit(), "versions": json.dumps(versions)}


def _commit() -> str:
    """The checkout's commit, with ``+`` if it has changes; empty where goodshot does not run from its checkout."""
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
