"""Finished cells in files of their own, as they lie until compaction moves them into the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
"""Cells that are made one table at a time: a table of one takes a hundred times its bytes."""


class Damaged(GoodshotError):
    """A file whose bytes are whole and make no sense."""


class FinishedCells:
    """The files of cells that are in no table yet: Arrow streams of one row, with its rows of the other tables in it.

    Not Parquet: an Arrow stream takes a tenth of the time to write and to read, and is only kept for seconds.
    """

    def __init__(self, files: Files, tables: Tables) -> None:
        self.files, self.tables = files, tables

    def names(self) -> dict[str, str]:
        """Their files by fingerprint."""
        return {Path(name).stem: name for name in self.files.names(FOLDER, SUFFIX)}

    def has(self, fingerprint: str) -> bool:
        """Whether there is such a file."""
        return self.files.exists(_name(fingerprint))

    def write(
        self,
        fingerprint: str,
        row: Mapping[str, Any],
        scores: Sequence[Mapping[str, Any]],
        metrics: Sequence[Mapping[str, Any]],
    ) -> None:
        """Write one, whole or not at all."""
        cell = {**row, "scores": [dict(score) for score in scores], "metrics": [dict(metric) for metric in metrics]}
        batch = pa.RecordBatch.from_struct_array(pa.array([cell], pa.struct(list(self.tables.cell))))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        self.files.write(_name(fingerprint), sink.getvalue())

    def row(self, fingerprint: str) -> dict[str, Any]:
        """Its row. Raises FileNotFoundError if there is no such file."""
        return dict(self.of_table(self._read(_name(fingerprint)), "results").to_pylist()[0])

    def read(self, names: Sequence[str]) -> pa.Table:
        """What they hold; :meth:`of_table` takes a table's rows out of it. Raises :class:`Damaged`."""
        found = [self.tables.cell.empty_table()]
        for start in range(0, len(names), BATCH):
            cells = self.files.each(self._read, names[start : start + BATCH])
            found.append(pa.concat_tables(cells).combine_chunks())
        return pa.concat_tables(found)

    def of_table(self, cells: pa.Table, table: str) -> pa.Table:
        """A table's rows of finished cells."""
        if table == "results":
            return cells.select(self.tables.row.names)
        return pa.Table.from_struct_array(pc.list_flatten(cells[table]))

    def sound(self, names: Sequence[str]) -> list[str]:
        """Those that can be read; the others are set aside, so that their cells count as not run."""

        def is_sound(name: str) -> bool:
            try:
                self._read(name)
            except Damaged:
                # Kept for whoever wants to know what happened.
                self.files.write(f"{DAMAGED}/{Path(name).name}", self.files.read(name))
                self.files.delete(name)
                return False
            return True

        return [name for name, good in zip(names, self.files.each(is_sound, names), strict=True) if good]

    def delete(self, names: Sequence[str]) -> None:
        """Delete them."""
        self.files.each(self.files.delete, names)

    def _read(self, name: str) -> pa.Table:
        """One; of an earlier version without the columns that there were not."""
        content = self.files.read(name)
        try:
            table = pa.ipc.open_stream(content).read_all()
            if not table.schema.equals(self.tables.cell):
                table = pa.Table.from_struct_array(pa.array(table.to_pylist(), pa.struct(list(self.tables.cell))))
        except (pa.ArrowException, OSError, TypeError, ValueError) as error:
            what = str(error).splitlines()[0]
            remedy = "run the study again, which sets it aside and makes the cell anew"
            raise Damaged(f"{self.files.where(name)}: is damaged ({what}); {remedy}") from error
        return table


def _name(fingerprint: str) -> str:
    return f"{FOLDER}/{fingerprint}{SUFFIX}"
