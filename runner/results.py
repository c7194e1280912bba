"""A study's results as Parquet: one small file a finished cell and table, appended as it finishes.

A cell is finished when its row is in ``results/``; its scores and metrics are written before it. Rows are keyed by
fingerprint and deduplicated when read, so a cell that ran twice counts once. Many small files are slow to list and to
read: a run's end compacts them into ``compacted-….parquet`` beside them, which is whole before they are deleted.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from runner.files import Files

T = TypeVar("T")

_TEXT = [
    "study",
    "dataset",
    "category",
    "shots",
    "arm",
    "prompt_kind",
    "select",
    "prompt",
    "variance",
    "detail",
    "post_augment",
    "augmentation",
    "preset",
    "init",
    "detector",
    "backbone",
    "encoder",
    "perceptual",
    "wordnet_source",
    "objective",
    "device",
    "fingerprint",
    "commit",
    "versions",
]
_WHOLE = [
    "support_seed",
    "seed",
    "image_size",
    "crop",
    "resolution",
    "train_samples",
    "copies",
    "iterations",
    "chosen_iteration",
    "n_test",
]
_REAL = [
    "vq_weight",
    "similarity",
    "image_auroc",
    "pixel_auroc",
    "aupro",
    "planted",
    "seconds_prompt",
    "seconds_generator",
    "seconds_fit",
    "seconds_score",
]
ROW = pa.schema(
    [pa.field(name, pa.string()) for name in _TEXT]
    + [pa.field(name, pa.int64()) for name in _WHOLE]
    + [pa.field(name, pa.float64()) for name in _REAL]
    + [pa.field("dev", pa.bool_()), pa.field("oracle", pa.bool_()), pa.field("support_ids", pa.list_(pa.string()))]
)
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
        "value": pa.float64(),
        "fingerprints": pa.list_(pa.string()),
        "error": pa.string(),
    }
)
COMPACTED = "compacted-"
MANY_FILES = 256
"""Small files of a table from which on they are compacted."""
MANY_PARTS = 8
"""Compacted files from which on they are made one."""
# What helps to read many rows takes a third of the time to write a few. Their types are known without Arrow's schema.
_OF_FEW_ROWS: Mapping[str, Any] = {"use_dictionary": False, "write_statistics": False, "store_schema": False}
_OF_ONE_ROW: Mapping[str, Any] = {**_OF_FEW_ROWS, "compression": "none"}
_CHANGING = ("failures", "trials")
"""Tables whose files change or are forgotten one by one, by other drivers perhaps; they are never compacted."""
_LISTINGS = 5
_LISTING_SECONDS = 10.0
_LISTING_PAUSE = 0.05
SCHEMAS = {"results": ROW, "scores": SCORE, "metrics": METRIC, "failures": FAILURE, "trials": TRIAL}


class Results:
    """The Parquet tables below one ``--out`` folder or URI."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.files = Files(uri)
        self._known_parts: dict[str, set[str]] = {}
        self._listing: tuple[float, list[str]] = -math.inf, []

    def append(
        self,
        fingerprint: str,
        row: Mapping[str, Any],
        scores: Sequence[Mapping[str, Any]],
        metrics: Sequence[Mapping[str, Any]],
    ) -> None:
        """Write one finished cell: scores and metrics first, the row last."""
        self._write("scores", fingerprint, scores)
        self._write("metrics", fingerprint, metrics)
        self._write("results", fingerprint, [row])

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
        return self._settled(self._finished)

    def _finished(self) -> set[str]:
        small, parts = self._listed("results")
        return {_stem(name) for name in small}.union(*(self._fingerprints(part) for part in parts))

    def has(self, fingerprint: str) -> bool:
        """Whether the cell is finished."""
        if self.files.exists(f"results/{fingerprint}.parquet"):
            return True
        return self._settled(lambda: any(fingerprint in self._fingerprints(part) for part in self._recent_parts()))

    def row(self, fingerprint: str) -> dict[str, Any]:
        """A finished cell's row. Raises FileNotFoundError if it is not."""
        return self._settled(lambda: self._row(fingerprint))

    def _row(self, fingerprint: str) -> dict[str, Any]:
        try:
            table = self._small(f"results/{fingerprint}.parquet", ROW)
        except FileNotFoundError:
            kept = [("fingerprint", "=", fingerprint)]
            found = [pq.read_table(self.files.open(part), schema=ROW, filters=kept) for part in self._parts()]
            table = pa.concat_tables([ROW.empty_table(), *found])
            if not table.num_rows:
                raise
        return dict(table.slice(0, 1).to_pylist()[0])

    def read(self, table: str, columns: Sequence[str] = ()) -> pa.Table:
        """One of the tables ``results``, ``scores``, ``metrics``, ``failures``, ``trials``; empty if there is none.

        Args:
            columns: those that are wanted; none for all.
        """
        return self._settled(lambda: self._read(table, columns))

    def compact(self, many: int = MANY_FILES) -> None:
        """Make one file of each table's small ones, where there are many, and one of many compacted ones."""
        for table in ("scores", "metrics", "results"):
            small, parts = self._listed(table)
            if len(small) < many and len(parts) < MANY_PARTS:
                continue
            old = parts if len(parts) >= MANY_PARTS else []
            # What is left of a killed compaction lies in one of the others already.
            known = set().union(*(self._fingerprints(part) for part in parts if part not in old))
            merged = self._merged(SCHEMAS[table], [name for name in small if _stem(name) not in known], old)
            if merged.num_rows:
                # In one piece: of one for each file, writing takes four times as long.
                self._write_table(f"{table}/{COMPACTED}{uuid.uuid4().hex[:12]}.parquet", merged.combine_chunks())
            for name in (*small, *old):
                self.files.delete(name)

    def _read(self, table: str, columns: Sequence[str]) -> pa.Table:
        small, parts = self._listed(table)
        names = {"fingerprint", *columns} if columns and table not in _CHANGING else {*SCHEMAS[table].names}
        schema = pa.schema([field for field in SCHEMAS[table] if field.name in names])
        if table in _CHANGING:
            kept = [schema.empty_table()]
            for name in small:
                with suppress(FileNotFoundError):
                    kept.append(self._small(name, schema))
            found = pa.concat_tables(kept)
        else:
            found = self._merged(schema, small, parts)
        return found.select(columns or schema.names)

    def _merged(self, schema: pa.Schema, small: Sequence[str], parts: Sequence[str]) -> pa.Table:
        """Every cell's rows once, though a killed compaction left it in a small file and in a compacted one."""
        found, seen = [schema.empty_table()], pa.array([], pa.string())
        for part in parts:
            rows = pq.read_table(self.files.open(part), schema=schema)
            if len(seen):
                rows = rows.filter(pc.invert(pc.is_in(rows["fingerprint"], value_set=seen)))
            found.append(rows)
            seen = pa.concat_arrays([seen, pc.unique(rows["fingerprint"]).cast(pa.string())])
        known = set(seen.to_pylist())
        names = [name for name in small if _stem(name) not in known]
        # A table of one row takes a hundred times its bytes (60 KB for 630), so they are made one in batches.
        for start in range(0, len(names), MANY_FILES):
            rows = [self._small(name, schema) for name in names[start : start + MANY_FILES]]
            found.append(pa.concat_tables(rows).combine_chunks())
        return pa.concat_tables(found)

    def _small(self, name: str, schema: pa.Schema) -> pa.Table:
        """A small file's rows. Made for large data sets, read_table takes three times as long for one."""
        content = self.files.read(name)
        rows = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
        if {*schema.names} < {*rows.schema.names}:
            rows = rows.select(schema.names)
        # It adds the columns, though, that a file of an earlier version lacks.
        return rows if rows.schema == schema else pq.read_table(pa.BufferReader(content), schema=schema)

    def _listed(self, table: str) -> tuple[list[str], list[str]]:
        """The small files and the compacted ones."""
        names = self.files.names(table, ".parquet")
        parts = [name for name in names if _stem(name).startswith(COMPACTED)]
        return [name for name in names if not _stem(name).startswith(COMPACTED)], parts

    def _parts(self) -> list[str]:
        return self._listed("results")[1]

    def _recent_parts(self) -> list[str]:
        """The compacted files as they were a moment ago: listing thousands of files for each cell would cost more."""
        listed, parts = self._listing
        if time.monotonic() - listed > _LISTING_SECONDS:
            parts = self._parts()
            self._listing = time.monotonic(), parts
        return parts

    def _fingerprints(self, part: str) -> set[str]:
        """Those of a compacted file; its name is never used again, so they are read once."""
        if part not in self._known_parts:
            column = pq.read_table(self.files.open(part), columns=["fingerprint"])["fingerprint"]
            self._known_parts[part] = set(column.to_pylist())
        return self._known_parts[part]

    def _settled(self, look: Callable[[], T]) -> T:
        """Look again where a file was compacted away between its listing and its reading."""
        for _ in range(_LISTINGS - 1):
            with suppress(FileNotFoundError):
                return look()
            time.sleep(_LISTING_PAUSE)
        return look()

    def rows(self, columns: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
        """The finished cells' rows by fingerprint; of hundreds of thousands better only the columns that are wanted."""
        wanted = dict.fromkeys(["fingerprint", *columns]) if columns else ()
        return {row["fingerprint"]: row for row in self.read("results", tuple(wanted)).to_pylist()}

    def _write(self, table: str, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        # All columns in one go: Table.from_pylist converts them one by one, at more than twice the time.
        structs = pa.array([dict(row) for row in rows], pa.struct(list(SCHEMAS[table])))
        options = _OF_FEW_ROWS if len(rows) > 1 else _OF_ONE_ROW
        self._write_table(f"{table}/{name}.parquet", pa.Table.from_struct_array(structs), **options)

    def _write_table(self, name: str, table: pa.Table, **options: Any) -> None:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, **options)
        self.files.write(name, sink.getvalue().to_pybytes())


def log_name(fingerprint: str) -> str:
    """Where a failed cell's error and traceback are, as text."""
    return f"logs/{fingerprint[:16]}.log"


def _stem(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(".parquet")


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
