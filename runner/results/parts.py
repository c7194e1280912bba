"""The Parquet files of the tables of finished cells. A file is never changed, and no name is used a second time."""

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
"""Number of rows of a Parquet file that are read or written at once."""
MANY_TABLES = 256
"""Number of tables after which they are concatenated, because a table of one row uses 100 times the row's bytes."""


class Parts:
    """The Parquet files below one ``--out``, named by what is in them: ``results/part-0-0123456789ab.parquet``."""

    def __init__(self, files: Files, tables: Tables) -> None:
        self.files, self.tables = files, tables
        self._known: dict[str, frozenset[str]] = {}

    def names(self, table: str) -> list[str]:
        """Return the names of a table's files."""
        names = self.files.names(table, ".parquet")
        # A folder is listed piece by piece. If a file is replaced meanwhile, the listing may lack the old file and the
        # new one, so only two equal listings in a row are accepted.
        while self.files.is_local and names != (names := self.files.names(table, ".parquet")):
            pass
        there = set(names)
        for gone in [name for name in self._known if Path(name).parts[0] == table and name not in there]:
            del self._known[gone]
        return names

    def fingerprints(self, name: str) -> frozenset[str]:
        """Return the fingerprints of the cells in a file. They are read once per file."""
        if name not in self._known:
            only = ["fingerprint"]
            # In `scores` and `metrics` many rows share a fingerprint, so the column is read as a dictionary.
            repeated = [] if name.startswith("results/") else only
            column = self.read(name, columns=only, read_dictionary=repeated)["fingerprint"]
            self._known[name] = frozenset((column.unique() if repeated else column).to_pylist())
        return self._known[name]

    def all_fingerprints(self, table: str) -> set[str]:
        """Return the fingerprints of the cells in all of a table's files."""
        return set().union(*map(self.fingerprints, self.names(table)))

    def known(self, table: str, among: Set[str]) -> set[str]:
        """Return the fingerprints in ``among`` whose cells are in a table's files."""
        return set().union(*(self.fingerprints(name) & among for name in self.names(table)))

    def read(self, name: str, **options: Any) -> pa.Table:
        """Return the rows of a file.

        Args:
            options: passed on to :func:`pyarrow.parquet.read_table`.

        Raises:
            FileNotFoundError: the file is gone, because its rows were moved to another file.
            Damaged: the file's content is not readable as Parquet.
        """
        return self._parsed(name, lambda source: pq.read_table(source, **options))

    def schema(self, name: str) -> pa.Schema:
        """Return the columns of a file and their types. Raises the same errors as :meth:`read`."""
        return self._parsed(name, pq.read_schema)

    def groups(self, name: str) -> Iterator[pa.Table]:
        """Yield the rows of a file in tables of at most :data:`ROW_GROUP` rows."""
        schema = self.tables[Path(name).parts[0]]
        file = self._parsed(name, pq.ParquetFile)
        if not file.schema_arrow.equals(schema):
            # An earlier version wrote this file, with fewer columns; reading it by the schema adds them as NULL.
            yield self.read(name, schema=schema)
            return
        for batch in file.iter_batches(ROW_GROUP):
            yield pa.Table.from_batches([batch], schema)

    def unique(self, names: Iterable[str]) -> Iterator[pa.Table]:
        """Yield the rows of several files, each cell once. A killed compaction may have left a cell in two files."""
        seen: set[str] = set()
        for name in names:
            twice = seen & self.fingerprints(name)
            for rows in self.groups(name):
                yield without(rows, twice)
            seen |= self.fingerprints(name)

    def has_copies(self, table: str) -> bool:
        """Return whether a cell is in two of a table's files, after a compaction was killed or lost its lease."""
        held = [self.fingerprints(name) for name in self.names(table)]
        return sum(map(len, held)) > len(set().union(*held))

    def drop_copies(self, table: str) -> None:
        """Keep each cell in one of a table's files only: in the file with the largest size that holds the cell."""
        seen: set[str] = set()
        for name in sorted(self.names(table), key=size_of, reverse=True):
            own = self.fingerprints(name)
            if twice := own & seen:
                self.write(table, size_of(name), (without(rows, twice) for rows in self.groups(name)))
                self.files.delete(name)
            seen |= own

    def write(self, table: str, size: int, tables: Iterable[pa.Table]) -> None:
        """Write a file of a table, unless ``tables`` have no rows. About one row group is in memory at a time.

        Args:
            size: how often the rows have been merged; part of the file's name.
        """
        waiting: list[pa.Table] = []
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(sink, self.tables[table]) as writer:
            held = written = 0
            for rows in tables:
                waiting.append(rows)
                held += rows.num_rows
                if held >= ROW_GROUP or len(waiting) >= MANY_TABLES:
                    # A single chunk is written four times faster than one chunk for each cell.
                    waiting = [pa.concat_tables(waiting).combine_chunks()]
                if held >= ROW_GROUP:
                    writer.write_table(waiting.pop(), row_group_size=ROW_GROUP)
                    held, written = 0, written + held
            if held:
                writer.write_table(pa.concat_tables(waiting).combine_chunks(), row_group_size=ROW_GROUP)
        if held or written:
            self.files.write(f"{table}/part-{size}-{uuid.uuid4().hex[:12]}.parquet", sink.getvalue(), is_last=True)

    def drop(self, table: str, fingerprints: Collection[str]) -> bool:
        """Remove cells from a table's files. Returns whether any file held one of them."""
        return self.change(table, fingerprints, lambda rows: without(rows, fingerprints))

    def change(self, table: str, fingerprints: Collection[str], edit: Callable[[pa.Table], pa.Table]) -> bool:
        """Rewrite the files that hold any of some cells. Returns whether there were such files.

        Args:
            fingerprints: the cells.
            edit: returns the new rows of a part of a file, which may also have rows of other cells.
        """
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
            # The file was deleted after it was opened, cannot be reached, or is damaged. Reading all of its bytes
            # raises an error in the first two cases.
            content = self.files.read(name)
        try:
            return parse(pa.BufferReader(content))
        except (pa.ArrowInvalid, OSError) as error:
            again = "run the study again, which makes its cells anew"
            if not name.startswith("results/"):
                again = "forget the rows that then lack scores or metrics (goodshot verify --forget), and " + again
            what = str(error).splitlines()[0]
            raise Damaged(f"{self.files.where(name)}: is damaged ({what}); delete it, {again}") from error


def without(rows: pa.Table, fingerprints: Collection[str]) -> pa.Table:
    """Return the rows without the rows of the cells in ``fingerprints``."""
    if not fingerprints:
        return rows
    return rows.filter(pc.invert(pc.is_in(rows["fingerprint"], value_set=pa.array(sorted(fingerprints), pa.string()))))


def size_of(name: str) -> int:
    """Return how often a file's rows have been merged, read from its name; 0 for a name from an earlier version."""
    kind, _, rest = Path(name).stem.partition("-")
    size = rest.partition("-")[0]
    return int(size) if kind == "part" and len(size) == 1 and size.isdecimal() else 0
