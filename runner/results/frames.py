"""The tables of one or several outputs as pandas frames: ``results.read("OUT")``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
from pyarrow import fs

from goodshot.components.errors import BadInput
from goodshot.runner.results.results import Results
from goodshot.runner.results.tables import CELL_TABLES
from goodshot.runner.store.files import absolute, public

if TYPE_CHECKING:
    import pandas as pd

TableName = Literal["results", "scores", "metrics", "failures", "trials"]
FOLDERS = ("finished", *CELL_TABLES, "failures", "trials", "studies")
"""Folders of an output, at least one of which contains a file as soon as a run has begun."""
ORDER = ("study", "dataset", "category", "shots", "support_seed", "seed", "arm", "copies", "fingerprint")
"""The columns by which rows are sorted."""


def read(
    out: str | os.PathLike[str], *more: str | os.PathLike[str], table: TableName = "results", metrics: bool = False
) -> pd.DataFrame:
    """Read a table of one or several outputs as a pandas frame: by default one row for each finished cell.

    Every cell is in the frame once: also one that has just finished and is in no Parquet file yet, and one that a
    killed process left in two of them. Neither Ray nor torch is started.

    Args:
        out: the ``--out`` of a study, as a folder or a URI (``s3://``, ``gs://``).
        more: further outputs. With several outputs the frame's first column, ``out``, names each row's output.
        table: ``results`` (one row for each cell), ``scores`` (one for each test image), ``metrics`` (one for each
            subset and metric, with its interval), ``failures`` (one for each failed cell) or ``trials`` (one for each
            reported L of each point of a search).
        metrics: whether to join the values of the table ``metrics`` to the rows of ``results``, as columns
            ``<subset>/<metric>``, for example ``all/image_ap``.

    Returns:
        A frame whose whole numbers and truth values have pandas' nullable types. An undefined or unmeasured metric is
        NaN. Rows of ``results`` are sorted by study, dataset, category, shots, support and arm.

    Raises:
        BadInput: an output does not exist, or is not an output of goodshot; or ``metrics`` is given for another table.
        GoodshotError: a file is damaged, or the storage cannot be reached.
    """
    import pandas as pd

    if metrics and table != "results":
        raise BadInput(f"results.read: metrics=True joins columns to the rows of 'results'; leave it out for {table!r}")
    frames = [_read_one(opened(each), table, metrics) for each in (out, *more)]
    if not more:
        return frames[0]
    for each, frame in zip((out, *more), frames, strict=True):
        frame.insert(0, "out", public(os.fspath(each)))
    return pd.concat(frames, ignore_index=True)


def _read_one(results: Results, table: TableName, metrics: bool) -> pd.DataFrame:
    if table not in (*CELL_TABLES, "failures", "trials"):
        raise BadInput(f"results.read: no table {table!r}; there are results, scores, metrics, failures and trials")
    frame = _frame(results.read(table))
    if table != "results":
        return frame
    frame = frame.sort_values([*ORDER], ignore_index=True)
    return _with_metrics(frame, results) if metrics else frame


def _with_metrics(frame: pd.DataFrame, results: Results) -> pd.DataFrame:
    """Return the rows with a further column for each subset and metric of the table ``metrics``."""
    import pandas as pd

    long = _frame(results.read("metrics", ["fingerprint", "subset", "metric", "value"]))
    long["name"] = long["subset"].str.cat(long["metric"], sep="/")
    wide = long.pivot(index="fingerprint", columns="name", values="value").rename_axis(columns=None)
    return pd.concat([frame, wide.reindex(frame["fingerprint"]).reset_index(drop=True)], axis="columns")


def _frame(table: pa.Table) -> pd.DataFrame:
    import pandas as pd

    nullable = {pa.int64(): pd.Int64Dtype(), pa.int8(): pd.Int8Dtype(), pa.bool_(): pd.BooleanDtype()}
    frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get)
    return frame


def opened(out: str | os.PathLike[str]) -> Results:
    """Return the results below an output, with further columns that other versions or unregistered arms have written.

    Raises:
        BadInput: ``out`` does not exist, or is not an output of goodshot.
    """
    results = Results(absolute(os.fspath(out)))
    files = results.files
    again = "give the folder or URI that was the --out of 'goodshot sweep' or 'goodshot demo'"
    if not any(files.names(folder) for folder in FOLDERS):
        with files.reported(""):
            is_there = files.filesystem.get_file_info(files.base).type != fs.FileType.NotFound
        raise BadInput(
            f"{public(os.fspath(out))}: {'holds no results of goodshot' if is_there else 'does not exist'}; {again}"
        )
    columns: dict[str, pa.Field] = {}
    for name, schema in results.schemas().items():
        if "fingerprint" not in schema.names:
            raise BadInput(f"{files.where(name)}: has no column 'fingerprint', so goodshot did not write it; {again}")
        columns |= {field.name: field for field in schema}
    return Results(results.uri, results.tables.extended(columns.values()))
