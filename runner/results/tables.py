"""The tables of ``--out``: their columns and types, in Parquet and in a finished cell's own file.

The table ``results`` has the columns of every row, the columns of each kind of cell, and the columns of each arm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import pyarrow as pa

from goodshot.components.metrics.declared import columns as metric_columns
from goodshot.runner.arms import arms
from goodshot.runner.cells import cell_kinds

_EVERY_ROW: Mapping[str, pa.DataType] = {
    "study": pa.string(),
    "dataset": pa.string(),
    "category": pa.string(),
    "shots": pa.string(),
    "arm": pa.string(),
    "cell": pa.string(),
    "objective": pa.string(),
    "device": pa.string(),
    "fingerprint": pa.string(),
    "commit": pa.string(),
    "versions": pa.string(),
    "support_seed": pa.int64(),
    "seed": pa.int64(),
    "copies": pa.int64(),
    "dev": pa.bool_(),
    "oracle": pa.bool_(),
    "support_ids": pa.list_(pa.string()),
}
SCORE = pa.schema(
    {
        "fingerprint": pa.string(),
        "image_id": pa.string(),
        "label": pa.int8(),
        "defect_type": pa.string(),
        "score": pa.float64(),
    }
)
METRIC = pa.schema(
    {
        "fingerprint": pa.string(),
        "subset": pa.string(),
        "metric": pa.string(),
        "value": pa.float64(),
        "low": pa.float64(),
        "high": pa.float64(),
    }
)
FAILURE = pa.schema(
    {
        "fingerprint": pa.string(),
        "study": pa.string(),
        "cell": pa.string(),
        "error": pa.string(),
        "log": pa.string(),
        "tries": pa.int64(),
    }
)
TRIAL = pa.schema(
    {
        "study": pa.string(),
        "trial": pa.string(),
        "started": pa.float64(),
        "state": pa.string(),
        "point": pa.string(),
        "vq_weight": pa.float64(),
        "copies": pa.int64(),
        "iterations": pa.int64(),
        "objective": pa.string(),
        "arm": pa.string(),
        "value": pa.float64(),
        "fingerprints": pa.list_(pa.string()),
        "error": pa.string(),
    }
)
CELL_TABLES = ("scores", "metrics", "results")
"""The tables that hold the rows of finished cells, in the order in which they are written."""


@dataclass(frozen=True)
class Tables:
    """The schemas of all tables, as the driver's registries of arms and cell kinds define them.

    Every process of a run is given the driver's schemas. A process that lacked one of the driver's columns would drop
    its values without an error.

    row: the schema of ``results``.
    outcome: the columns of a row that are used to judge trials and to log them.
    """

    row: pa.Schema
    outcome: tuple[str, ...]

    @cached_property
    def cell(self) -> pa.Schema:
        """The schema of a finished cell's own file: ``row``, with the cell's scores and metrics as list columns."""
        own = {"scores": SCORE, "metrics": METRIC}
        return pa.schema([*self.row, *(pa.field(name, pa.list_(pa.struct(list(of)))) for name, of in own.items())])

    @classmethod
    def known(cls) -> Tables:
        """Return the tables with the columns of all arms and cell kinds that are registered in this process.

        Raises:
            TypeError: two arms or cell kinds declare a column of the same name with different types.
        """
        types = dict(_EVERY_ROW)
        for columns in (*(kind.columns for kind in cell_kinds()), *(arm.columns for arm in arms())):
            if twice := [name for name in columns if types.get(name, columns[name]) != columns[name]]:
                raise TypeError(f"the column {twice[0]} is declared with two types")
            types |= columns
        row = pa.schema(types)
        metrics = [metric.name for metric in metric_columns() if metric.name in types]
        return cls(row, ("category", "arm", *metrics))

    def extended(self, columns: Iterable[pa.Field]) -> Tables:
        """Return the same tables, with the given columns added to the rows unless the rows have a column of that name.

        This is needed to read rows that another version of goodshot has written.
        """
        more = [column for column in columns if column.name not in self.row.names]
        return replace(self, row=pa.schema([*self.row, *more]))

    def __reduce__(self) -> tuple[Callable[[bytes, tuple[str, ...]], Tables], tuple[bytes, tuple[str, ...]]]:
        # Every task of a run is sent the tables, and pickling two schemas of ninety columns takes half a millisecond.
        return _unpickled, (self._serialized, self.outcome)

    @cached_property
    def _serialized(self) -> bytes:
        return bytes(self.row.serialize())

    def __getitem__(self, table: str) -> pa.Schema:
        """Return the schema of a table by its name."""
        return self.row if table == "results" else _OTHERS[table]


@lru_cache
def _unpickled(row: bytes, outcome: tuple[str, ...]) -> Tables:
    return Tables(pa.ipc.read_schema(pa.py_buffer(row)), outcome)


_OTHERS = {"scores": SCORE, "metrics": METRIC, "failures": FAILURE, "trials": TRIAL}
