"""A study's results: one small file a finished cell, appended as it finishes, and tables as Parquet.

A cell is finished when its file is in ``finished/``: its row, scores and metrics, whole or not at all. Every few
seconds of a run, and at its end, `runner.compaction` moves such cells into the Parquet files of ``results/``,
``scores/`` and ``metrics/``. What is read here is both, each cell once, though it ran twice or was being moved when a
process died.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.errors import GoodshotError
from runner.files import Files
from runner.tables import CELL, OF_CELLS, ROW, SCHEMAS, TRIAL

T = TypeVar("T")

FINISHED = "finished"
ROW_GROUP = 2**16
"""Rows that a reader of a Parquet file gets at once."""
BATCH = 256
"""Finished cells that are made one table at a time: a table of one takes a hundred times its bytes."""
# What helps to read many rows takes a third of the time to write a few. Their types are known without Arrow's schema.
_OF_FEW_ROWS: Mapping[str, Any] = {"use_dictionary": False, "write_statistics": False, "store_schema": False}
_LISTINGS = 5
_LISTING_PAUSE = 0.05


class Results:
    """The tables below one ``--out`` folder or URI."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.files = Files(uri)
        self._known: dict[str, set[str]] = {}

    def append(
        self,
        fingerprint: str,
        row: Mapping[str, Any],
        scores: Sequence[Mapping[str, Any]],
        metrics: Sequence[Mapping[str, Any]],
    ) -> None:
        """Write one finished cell, all of it at once."""
        cell = {**row, "scores": [dict(score) for score in scores], "metrics": [dict(metric) for metric in metrics]}
        # An Arrow file, not Parquet: it takes a tenth of the time to write and to read, and is only kept for seconds.
        batch = pa.RecordBatch.from_struct_array(pa.array([cell], pa.struct(list(CELL))))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        self.files.write(_name(fingerprint), sink.getvalue().to_pybytes())

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
        return self._settled(lambda: {*self.alone()}.union(*map(self.fingerprints, self.parts("results"))))

    def has(self, fingerprint: str) -> bool:
        """Whether the cell is finished."""
        if self.files.exists(_name(fingerprint)):
            return True
        return self._settled(lambda: any(fingerprint in self.fingerprints(part) for part in self.parts("results")))

    def row(self, fingerprint: str) -> dict[str, Any]:
        """A finished cell's row. Raises FileNotFoundError if it is not."""
        return self._settled(lambda: self._row(fingerprint))

    def rows(self, columns: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
        """The finished cells' rows by fingerprint; of hundreds of thousands better only the columns that are wanted."""
        wanted = dict.fromkeys(["fingerprint", *columns]) if columns else ()
        return {row["fingerprint"]: row for row in self.read("results", tuple(wanted)).to_pylist()}

    def read(self, table: str, columns: Sequence[str] = ()) -> pa.Table:
        """One of the tables ``results``, ``scores``, ``metrics``, ``failures``, ``trials``; empty if there is none.

        Args:
            columns: those that are wanted; none for all.
        """
        return self._settled(lambda: self._read(table, columns))

    # What compaction needs to know.

    def alone(self) -> dict[str, str]:
        """The files of finished cells that are in no table yet, by fingerprint."""
        return {Path(name).stem: name for name in self.files.names(FINISHED, ".arrow")}

    def parts(self, table: str) -> list[str]:
        """The Parquet files of a table."""
        names = self.files.names(table, ".parquet")
        for gone in [part for part in self._known if part.startswith(f"{table}/") and part not in names]:
            del self._known[gone]
        return names

    def fingerprints(self, part: str) -> set[str]:
        """Those of a Parquet file; its name is never used again, so they are read once."""
        if part not in self._known:
            only = ["fingerprint"]
            # Of scores many have one fingerprint.
            repeated = [] if part.startswith("results/") else only
            column = self._part(part, columns=only, read_dictionary=repeated)["fingerprint"]
            self._known[part] = set((column.unique() if repeated else column).to_pylist())
        return self._known[part]

    def cells(self, names: Sequence[str]) -> pa.Table:
        """What the files of finished cells hold; :func:`of_table` takes a table's rows out of it."""
        found = [CELL.empty_table()]
        for start in range(0, len(names), BATCH):
            cells = self.files.each(self._cell, names[start : start + BATCH])
            found.append(pa.concat_tables(cells).combine_chunks())
        return pa.concat_tables(found)

    def unique(self, schema: pa.Schema, parts: Sequence[str]) -> Iterator[pa.Table]:
        """Each Parquet file's rows but those of cells that one before it holds too, with the columns of a schema."""
        seen = pa.array([], pa.string())
        for part in parts:
            rows = self._part(part, schema=schema)
            if len(seen):
                rows = rows.filter(pc.invert(pc.is_in(rows["fingerprint"], value_set=seen)))
            yield rows
            seen = pa.concat_arrays([seen, pc.unique(rows["fingerprint"]).cast(pa.string())])

    def write_part(self, name: str, tables: Iterable[pa.Table]) -> None:
        """Write a Parquet file, if there are rows for it, holding no more than a few of the tables at once."""
        waiting: list[pa.Table] = []
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(sink, SCHEMAS[Path(name).parts[0]]) as writer:
            written = 0
            for rows in tables:
                waiting.append(rows)
                if sum(each.num_rows for each in waiting) >= ROW_GROUP:
                    written += _write_group(writer, waiting)
            written += _write_group(writer, waiting)
        if written:
            self.files.write(name, sink.getvalue().to_pybytes())

    def _row(self, fingerprint: str) -> dict[str, Any]:
        try:
            table = of_table(self._cell(_name(fingerprint)), "results")
        except FileNotFoundError:
            kept = [("fingerprint", "=", fingerprint)]
            found = [self._part(part, schema=ROW, filters=kept) for part in self.parts("results")]
            table = pa.concat_tables([ROW.empty_table(), *found])
            if not table.num_rows:
                raise
        return dict(table.slice(0, 1).to_pylist()[0])

    def _read(self, table: str, columns: Sequence[str]) -> pa.Table:
        if table not in OF_CELLS:
            found = self._changing(table)
            return found.select(columns or found.column_names)
        # Cells move from their own files into tables, so they are looked for in this order.
        alone = self.alone()
        wanted = {"fingerprint", *columns} if columns else {*SCHEMAS[table].names}
        schema = pa.schema([field for field in SCHEMAS[table] if field.name in wanted])
        rows = pa.concat_tables([schema.empty_table(), *self.unique(schema, self.parts(table))])
        known = set(pc.unique(rows["fingerprint"]).to_pylist()) if alone else set()
        cells = self.cells([name for fingerprint, name in alone.items() if fingerprint not in known])
        own = of_table(cells, table).select(rows.column_names)
        return pa.concat_tables([rows, own]).select(columns or rows.column_names)

    def _changing(self, table: str) -> pa.Table:
        """A table whose files are replaced or deleted one by one, by other drivers perhaps."""
        found = [SCHEMAS[table].empty_table()]
        for name in self.files.names(table, ".parquet"):
            with suppress(FileNotFoundError), self._sound(name):
                found.append(_small(self.files.read(name), SCHEMAS[table]))
        return pa.concat_tables(found)

    def _part(self, name: str, **options: Any) -> pa.Table:
        with self._sound(name):
            return pq.read_table(self.files.open(name), **options)

    def _cell(self, name: str) -> pa.Table:
        """A finished cell's file; of an earlier version without the columns that there were not."""
        with self._sound(name):
            table = pa.ipc.open_stream(self.files.read(name)).read_all()
        if table.schema.equals(CELL):
            return table
        return pa.Table.from_struct_array(pa.array(table.to_pylist(), pa.struct(list(CELL))))

    @contextmanager
    def _sound(self, name: str) -> Iterator[None]:
        """A file that is none of ours, or was damaged, is named."""
        try:
            yield
        except FileNotFoundError:
            raise
        except (pa.ArrowInvalid, OSError) as error:
            what = str(error).splitlines()[0]
            remedy = "delete it and run the study again, which makes anew what was in it"
            raise GoodshotError(f"{self.files.where(name)}: is damaged ({what}); {remedy}") from error

    def _settled(self, look: Callable[[], T]) -> T:
        """Look again where a file was moved into another one between its listing and its reading."""
        for _ in range(_LISTINGS - 1):
            with suppress(FileNotFoundError):
                return look()
            time.sleep(_LISTING_PAUSE)
        return look()

    def _write(self, table: str, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        # All columns in one go: Table.from_pylist converts them one by one, at more than twice the time.
        structs = pa.array([dict(row) for row in rows], pa.struct(list(SCHEMAS[table])))
        self.files.write(f"{table}/{name}.parquet", _parquet(pa.Table.from_struct_array(structs), **_OF_FEW_ROWS))


def of_table(cells: pa.Table, table: str) -> pa.Table:
    """A table's rows of finished cells."""
    if table == "results":
        return cells.select(ROW.names)
    return pa.Table.from_struct_array(pc.list_flatten(cells[table]))


def _write_group(writer: pq.ParquetWriter, waiting: list[pa.Table]) -> int:
    """Write tables in one piece (of one for each cell it takes four times as long) and let them go."""
    rows = pa.concat_tables(waiting).combine_chunks() if waiting else ()
    waiting.clear()
    if len(rows):
        writer.write_table(rows)
    return len(rows)


def log_name(fingerprint: str) -> str:
    """Where a failed cell's error and traceback are, as text."""
    return f"logs/{fingerprint[:16]}.log"


def _name(fingerprint: str) -> str:
    return f"{FINISHED}/{fingerprint}.arrow"


def _small(content: bytes, schema: pa.Schema) -> pa.Table:
    """A small Parquet file's rows. Made for large data sets, read_table takes three times as long for one."""
    rows = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
    # It adds the columns, though, that a file of an earlier version lacks.
    return rows if rows.schema == schema else pq.read_table(pa.BufferReader(content), schema=schema)


def _parquet(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return bytes(sink.getvalue().to_pybytes())


@lru_cache
def software() -> dict[str, str]:
    """The columns ``commit`` and ``versions``: the code that made a row."""
    names = ("goodshot", "torch", "anomalib", "timm", "ray", "accelerate", "open_clip_torch", "nltk", "pyarrow")
    versions = {name: importlib.metadata.version(name) for name in names}
    return {"commit": _commit(), "versions": json.dumps(versions)}


def _commit() -> str:
    """The checkout's commit, with ``+`` if it has changes; empty where goodshot does not run from its checkout."""
    checkout = Path(__file__).resolve().parents[1]
    try:
        if _git("rev-parse", "--show-toplevel", cwd=checkout) != str(checkout):
            return ""
        return _git("describe", "--always", "--dirty=+", "--abbrev=40", "--exclude=*", cwd=checkout)
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
