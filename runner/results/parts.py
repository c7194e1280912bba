"""The Parquet files of the tables that finished cells go to; a file's content never changes, its name never returns."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Set
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from goodshot.runner.results.finished import Damaged
from goodshot.runner.results.tables import Tables
from goodshot.runner.store.files import Files

T = TypeVar("T")

ROW_GROUP = 2**16
"""Rows of a Parquet file that are read and written at once."""
MANY_TABLES = 256
"""Tables that are made one before they are written: one of a row takes a hundred times its bytes."""


class Parts:
    """The Parquet files below one ``--out``, named by what is in them: ``results/part-0-0123456789ab.parquet``."""

    def __init__(self, files: Files, tables: Tables) -> None:
        self.files, self.tables = files, tables
        self._known: dict[str, frozenset[str]] = {}

    def names(self, table: str) -> list[str]:
        """A table's files."""
        names = self.files.names(table, ".parquet")
        # A folder is read piece by piece: what is replaced meanwhile may be missing, and what replaces it.
        while self.files.is_local and names != (names := self.files.names(table, ".parquet")):
            pass
        there = set(names)
        for gone in [name for name in self._known if Path(name).parts[0] == table and name not in there]:
            del self._known[gone]
        return names

    def fingerprints(self, name: str) -> frozenset[str]:
        """Those of a file, which are read once."""
        if name not in self._known:
            only = ["fingerprint"]
            # Of scores many have one fingerprint.
            repeated = [] if name.startswith("results/") else only
            column = self.read(name, columns=only, read_dictionary=repeated)["fingerprint"]
            self._known[name] = frozenset((column.unique() if repeated else column).to_pylist())
        return self._known[name]

    def all_fingerprints(self, table: str) -> set[str]:
        """Those of all of a table's files."""
        return set().union(*map(self.fingerprints, self.names(table)))

    def known(self, table: str, among: Set[str]) -> set[str]:
        """Which of some cells a table's files hold."""
        return set().union(*(self.fingerprints(name) & among for name in self.names(table)))

    def read(self, name: str, **options: Any) -> pa.Table:
        """A file's rows; options are those of :func:`pyarrow.parquet.read_table`.

        Raises:
            FileNotFoundError: its rows are in another one now.
            Damaged: it cannot be read, and never will be.
        """
        return self._parsed(name, lambda source: pq.read_table(source, **options))

    def schema(self, name: str) -> pa.Schema:
        """A file's columns and their types. Raises as :meth:`read` does."""
        return self._parsed(name, pq.read_schema)

    def groups(self, name: str) -> Iterator[pa.Table]:
        """A file's rows, so many at a time."""
        schema = self.tables[Path(name).parts[0]]
        file = self._parsed(name, pq.ParquetFile)
        if not file.schema_arrow.equals(schema):
            # Of an earlier version, which had fewer columns.
            yield self.read(name, schema=schema)
            return
        for batch in file.iter_batches(ROW_GROUP):
            yield pa.Table.from_batches([batch], schema)

    def unique(self, names: Iterable[str]) -> Iterator[pa.Table]:
        """Several files' rows, each cell once: a killed compaction may have left it in two of them."""
        seen: set[str] = set()
        for name in names:
            twice = seen & self.fingerprints(name)
            for rows in self.groups(name):
                yield without(rows, twice)
            seen |= self.fingerprints(name)

    def has_copies(self, table: str) -> bool:
        """Whether some cell is in two of a table's files, as a killed or overtaken compaction may leave it."""
        held = [self.fingerprints(name) for name in self.names(table)]
        return sum(map(len, held)) > len(set().union(*held))

    def drop_copies(self, table: str) -> None:
        """Leave each cell in one of a table's files, the most merged one that holds it."""
        seen: set[str] = set()
        for name in sorted(self.names(table), key=size_of, reverse=True):
            own = self.fingerprints(name)
            if twice := own & seen:
                self.write(table, size_of(name), (without(rows, twice) for rows in self.groups(name)))
                self.files.delete(name)
            seen |= own

    def write(self, table: str, size: int, tables: Iterable[pa.Table]) -> None:
        """Write a file, if there are rows for it, holding no more than a row group of them at a time."""
        waiting: list[pa.Table] = []
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(sink, self.tables[table]) as writer:
            held = written = 0
            for rows in tables:
                waiting.append(rows)
                held += rows.num_rows
                if held >= ROW_GROUP or len(waiting) >= MANY_TABLES:
                    # In one piece: of one for each cell, writing takes four times as long.
                    waiting = [pa.concat_tables(waiting).combine_chunks()]
                if held >= ROW_GROUP:
                    writer.write_table(waiting.pop(), row_group_size=ROW_GROUP)
                    held, written = 0, written + held
            if held:
                writer.write_table(pa.concat_tables(waiting).combine_chunks(), row_group_size=ROW_GROUP)
        if held or written:
            self.files.write(f"{table}/part-{size}-{uuid.uuid4().hex[:12]}.parquet", sink.getvalue(), is_last=True)

    def drop(self, table: str, fingerprints: Collection[str]) -> bool:
        """Take cells out of a table's files; whether they were in one."""
        return self.change(table, fingerprints, lambda rows: without(rows, fingerprints))

    def change(self, table: str, fingerprints: Collection[str], edit: Callable[[pa.Table], pa.Table]) -> bool:
        """Write the files that hold some cells anew, with their rows changed; whether there were such files."""
        found = [name for name in self.names(table) if not self.fingerprints(name).isdisjoint(fingerprints)]
        for name in found:
            self.write(table, size_of(name), map(edit, self.groups(name)))
            self.files.delete(name)
        return bool(found)

    def _parsed(self, name: str, parse: Callable[[Any], T]) -> T:
        try:
            return parse(self.files.open(name))
        except FileNotFoundError:
            raise
        except (pa.ArrowInvalid, OSError):
            # Gone since it was opened, out of reach, or damaged: the bytes as a whole tell.
            content = self.files.read(name)
        try:
            return parse(pa.BufferReader(content))
        except (pa.ArrowInvalid, OSError) as error:
            again = "run the study again, which makes its cells anew"
            if not name.startswith("results/"):
                again = "have the rows forgotten that then lack something (goodshot verify --forget), and " + again
            what = str(error).splitlines()[0]
            raise Damaged(f"{self.files.where(name)}: is damaged ({what}); delete it, {again}") from error


def without(rows: pa.Table, fingerprints: Collection[str]) -> pa.Table:
    """The rows but those of some cells."""
    if not fingerprints:
        return rows
    return rows.filter(pc.invert(pc.is_in(rows["fingerprint"], value_set=pa.array(sorted(fingerprints), pa.string()))))


def size_of(name: str) -> int:
    """How often a file's rows have been merged; none if its name is not of this version."""
    kind, _, rest = Path(name).stem.partition("-")
    size = rest.partition("-")[0]
    return int(size) if kind == "part" and len(size) == 1 and size.isdecimal() else 0
