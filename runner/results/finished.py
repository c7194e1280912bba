"""The files of finished cells, one file for each cell, until compaction moves the cells into the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from goodshot.components.errors import GoodshotError
from goodshot.runner.results.tables import Tables
from goodshot.runner.store.files import Files

FOLDER, SUFFIX = "finished", ".arrows"
DAMAGED = "damaged"
BATCH = 256
"""Number of cells that are read before their tables are concatenated.

A table of a single cell uses a hundred times the bytes of the cell.
"""


class Damaged(GoodshotError):
    """A file that can be read completely, but whose content is not valid."""


class FinishedCells:
    """The files of cells that are in no table yet.

    Each file is an Arrow stream with one row: those columns of the cell's row of ``results`` that have a value, and in
    two list columns the cell's rows of ``scores`` and ``metrics``. The format is not Parquet, because an Arrow stream
    is written and read in a tenth of the time, and the file exists for seconds only.
    """

    def __init__(self, files: Files, tables: Tables) -> None:
        self.files, self.tables = files, tables
        self._struct = lru_cache(lambda *names: pa.struct([tables.cell.field(name) for name in names]))

    @cached_property
    def _fields(self) -> dict[str, pa.Field]:
        return {field.name: field for field in self.tables.cell}

    def names(self) -> dict[str, str]:
        """Return the names of all files, by the fingerprint of the cell."""
        return {Path(name).stem: name for name in self.files.names(FOLDER, SUFFIX)}

    def has(self, fingerprint: str) -> bool:
        """Return whether a file of this cell exists."""
        return self.files.exists(_name(fingerprint))

    def write(
        self,
        fingerprint: str,
        row: Mapping[str, Any],
        scores: Sequence[Mapping[str, Any]],
        metrics: Sequence[Mapping[str, Any]],
    ) -> None:
        """Write the file of a cell, completely or not at all.

        Args:
            row: the cell's row of ``results``.
            scores: the cell's rows of ``scores``.
            metrics: the cell's rows of ``metrics``.
        """
        own = {name: value for name, value in row.items() if value is not None and name in self._fields}
        cell = {**own, "scores": [dict(score) for score in scores], "metrics": [dict(metric) for metric in metrics]}
        batch = pa.RecordBatch.from_struct_array(pa.array([cell], self._struct(*cell)))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        self.files.write(_name(fingerprint), sink.getvalue())

    def row(self, fingerprint: str) -> dict[str, Any]:
        """Return the cell's row of ``results``. Raises FileNotFoundError if the cell has no file."""
        return dict(self.of_table(self.read([_name(fingerprint)]), "results").to_pylist()[0])

    def read(self, names: Sequence[str]) -> pa.Table:
        """Return the cells of several files, one row per cell; :meth:`of_table` extracts a table's rows.

        Raises:
            FileNotFoundError: a file is gone, because its cell was moved.
            Damaged: a file's content is not valid.
        """
        found = [self.tables.cell.empty_table()]
        for start in range(0, len(names), BATCH):
            cells = self.files.each(self._read, names[start : start + BATCH])
            # Columns that a cell's file lacks become NULL.
            found.append(pa.concat_tables([found[0], *cells], promote_options="default").combine_chunks())
        return pa.concat_tables(found)

    def of_table(self, cells: pa.Table, table: str) -> pa.Table:
        """Return the rows of one table, extracted from cells that :meth:`read` returned."""
        if table == "results":
            return cells.select(self.tables.row.names)
        return pa.Table.from_struct_array(pc.list_flatten(cells[table]))

    def sound(self, names: Sequence[str]) -> list[str]:
        """Return the names of the files whose content is valid.

        The other files are moved to the folder ``damaged``, so that their cells count as not run.
        """

        def is_sound(name: str) -> bool:
            try:
                self._read(name)
            except Damaged:
                # The damaged file is kept, so that its content can be examined.
                self.files.write(f"{DAMAGED}/{Path(name).name}", self.files.read(name))
                self.files.delete(name)
                return False
            return True

        return [name for name, good in zip(names, self.files.each(is_sound, names), strict=True) if good]

    def delete(self, names: Sequence[str]) -> None:
        """Delete files."""
        self.files.each(self.files.delete, names)

    def _read(self, name: str) -> pa.Table:
        """Return the content of one file, which may lack columns that are NULL, in the types of this version."""
        content = self.files.read(name)
        try:
            table = pa.ipc.open_stream(content).read_all()
            if not all(field == self._fields.get(field.name) for field in table.schema):
                table = pa.Table.from_struct_array(pa.array(table.to_pylist(), pa.struct(list(self.tables.cell))))
        except (pa.ArrowException, OSError, TypeError, ValueError) as error:
            what = str(error).splitlines()[0]
            remedy = "run the study again, which sets it aside and makes the cell anew"
            raise Damaged(f"{self.files.where(name)}: is damaged ({what}); {remedy}") from error
        return table


def _name(fingerprint: str) -> str:
    return f"{FOLDER}/{fingerprint}{SUFFIX}"
