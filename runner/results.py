"""A study's results as Parquet: one small file a finished cell and table, appended as it finishes.

A cell is finished when its row is in ``results/``; its scores and metrics are written before it. Rows are keyed by
fingerprint and deduplicated when read, so a cell that ran twice counts once.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from runner.files import Files

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
SCHEMAS = {"results": ROW, "scores": SCORE, "metrics": METRIC, "failures": FAILURE}


class Results:
    """The Parquet tables below one ``--out`` folder or URI."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.files = Files(uri)

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
        self._write("results", fingerprint, [{name: row.get(name) for name in ROW.names}])

    def append_failure(self, fingerprint: str, study: str, cell: str, error: str, log: str) -> None:
        """Record that a cell failed, and how often by now; the next runs try it again, up to a limit."""
        tries = self.tries().get(fingerprint, 0) + 1
        row = {"fingerprint": fingerprint, "study": study, "cell": cell, "error": error, "log": log, "tries": tries}
        self._write("failures", fingerprint, [row])

    def tries(self) -> dict[str, int]:
        """How often each failed cell has been tried."""
        return {row["fingerprint"]: row["tries"] or 1 for row in self.read("failures").to_pylist()}

    def forget_failure(self, fingerprint: str) -> None:
        """Drop a failure's record once its cell has finished."""
        self.files.delete(f"failures/{fingerprint}.parquet")

    def finished(self) -> set[str]:
        """Fingerprints of the finished cells."""
        return {Path(name).stem for name in self.files.names("results", ".parquet")}

    def has(self, fingerprint: str) -> bool:
        """Whether the cell is finished."""
        return self.files.exists(f"results/{fingerprint}.parquet")

    def row(self, fingerprint: str) -> dict[str, Any]:
        """A finished cell's row. Raises FileNotFoundError if it is not."""
        (row,) = pq.read_table(self.files.open(f"results/{fingerprint}.parquet"), schema=ROW).to_pylist()
        return dict(row)

    def read(self, table: str) -> pa.Table:
        """One of the tables ``results``, ``scores``, ``metrics``, ``failures``; empty if nothing was written."""
        names = self.files.names(table, ".parquet")
        parts = []
        for name in names:
            # A failure may be forgotten by another driver after it was listed.
            with suppress(FileNotFoundError):
                parts.append(pq.read_table(self.files.open(name), schema=SCHEMAS[table]))
        return pa.concat_tables(parts) if parts else SCHEMAS[table].empty_table()

    def rows(self) -> dict[str, dict[str, Any]]:
        """The finished cells' rows by fingerprint."""
        return {row["fingerprint"]: row for row in self.read("results").to_pylist()}

    def _write(self, table: str, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=SCHEMAS[table]), sink)
        self.files.write(f"{table}/{name}.parquet", sink.getvalue().to_pybytes())


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
