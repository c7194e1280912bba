"""The tables of ``--out``: their columns and types, in Parquet and in a finished cell's own file."""

from __future__ import annotations

import pyarrow as pa

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
SCHEMAS = {"results": ROW, "scores": SCORE, "metrics": METRIC, "failures": FAILURE, "trials": TRIAL}
OF_CELLS = ("scores", "metrics", "results")
"""The tables that finished cells go to."""
CELL = pa.schema(
    [*ROW, pa.field("scores", pa.list_(pa.struct(list(SCORE)))), pa.field("metrics", pa.list_(pa.struct(list(METRIC))))]
)
"""A finished cell in a file of its own: its row, with its rows of the other two tables."""
