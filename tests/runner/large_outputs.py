"""Outputs of many rows and pictures, written as tables at once, as a long sweep leaves them."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from goodshot.components.data.images import decode_rgb, encode_png
from goodshot.components.data.sample import Sample
from goodshot.components.data.shards import write_split
from goodshot.components.metrics.detection import IMAGE_SET
from goodshot.components.prompts.ranking import Prompt, RankedPrompt, Ranking
from goodshot.runner.results.record import CellRecord
from goodshot.runner.results.results import Results
from goodshot.runner.results.tables import METRIC
from goodshot.runner.stages.prompt import PromptStage
from goodshot.runner.store.artifacts import Store, arrays_bytes
from goodshot.runner.study.settings import to_yaml, validate
from tests.conftest import TINY
from tests.runner.report_pages import LOSSES

GRID: dict[str, list[Any]] = {
    "vq_weight": [0.1, 0.3, 1.0, 3.0, 10.0, 30.0],
    "copies": [1, 10, 20, 30, 50, 100],
    "iterations": [50, 100, 200, 500],
}
SMALL_GRID: dict[str, list[Any]] = {"vq_weight": [0.3, 1.0, 3.0], "copies": [1, 10, 50], "iterations": [50, 100]}


def write_sweep(
    out: Path, photographs: Path, categories: int, supports: int, grid: Mapping[str, list[Any]] = GRID
) -> int:
    """λ × copies × L over categories and supports, with pictures of each category. Returns the number of rows."""
    rng = np.random.default_rng(0)
    points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    names = [f"category {i:02d}" for i in range(categories)]
    study = validate(
        {**TINY, **grid, "dataset": {"name": "demo"}, "categories": names, "support_seeds": list(range(supports))}
        | {"score_every": 50, "seed": 0, "name": "large", "title": "λ × copies × L over all categories"},
        "large",
    )
    rows = [row for name in names for seed in range(supports) for row in _rows(rng, name, seed, points)]
    results = Results(str(out))
    (out / "results").mkdir(parents=True)
    (out / "metrics").mkdir()
    pq.write_table(pa.Table.from_pylist(rows, results.tables.row), out / "results/part-0-0123456789ab.parquet")
    pq.write_table(pa.Table.from_pylist(_metrics(rng, rows), METRIC), out / "metrics/part-0-0123456789ab.parquet")
    records = [_record(row) for row in rows]
    results.files.write("studies/large.yaml", to_yaml(study).encode())
    results.files.write("studies/large.cells.json", json.dumps([asdict(record) for record in records]).encode())
    _put_pictures(Store(str(out / "store")), out, photographs, names, _pictured(records, points[-1]), rng)
    return len(rows)


def _rows(rng: np.random.Generator, category: str, seed: int, points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    common = {
        "study": "large",
        "dataset": "demo",
        "category": category,
        "shots": "1",
        "cell": "detection",
        "support_seed": seed,
        "seed": seed,
        "detector": "patchcore-lite0",
        "image_size": 256,
        "n_test": 100,
        "device": "cpu",
        "seconds_fit": 2.0,
        "seconds_score": 1.0,
    }
    base = float(rng.uniform(0.6, 0.95))

    def measured(arm: str, gain: float, **values: Any) -> dict[str, Any]:
        auroc = min(1.0, base + gain + float(rng.normal(0, 0.01)))
        fingerprint = rng.bytes(32).hex()
        numbers = {"image_auroc": auroc, "pixel_auroc": 0.9 + 0.1 * auroc, "aupro": 0.8 * auroc}
        return {**common, "arm": arm, "fingerprint": fingerprint, **numbers, **values}

    fixed = {"prompt_kind": "best", "select": "text", "variance": "estimated", "detail": "none", "post_augment": "none"}
    generated = []
    for point in points:
        similarity = float(rng.uniform(0.2, 0.5))
        text = {"similarity": similarity, "prompt": "a coin with obverse", "chosen_iteration": 50, **fixed}
        generated.append(measured("generated", 0.1 * similarity, **point, **text))
    augmented = [
        measured("augmented", 0.03, copies=copies, augmentation="mild")
        for copies in sorted({point["copies"] for point in points})
    ]
    return [measured("original", 0.0, copies=0), *augmented, *generated]


def _metrics(rng: np.random.Generator, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    keys = [("all", "image_ap"), ("all", "image_f1_max"), (IMAGE_SET, "ssim"), (IMAGE_SET, "psnr")]
    return [
        {"fingerprint": row["fingerprint"], "subset": subset, "metric": metric, "value": float(rng.random())}
        for row in rows
        for subset, metric in keys
        if subset == "all" or row["copies"]
    ]


def _record(row: dict[str, Any]) -> CellRecord:
    own, name = row["arm"] == "generated", row["category"]
    key = f"{name}/{row['support_seed']}/{row.get('vq_weight')}"
    return CellRecord(
        fingerprint=row["fingerprint"],
        category=name,
        arm=row["arm"],
        seed=row["seed"],
        shard=f"shard/{name}",
        support_ids=("train/good/0.png",),
        image_set=f"image_set/{key}/{row['copies']}/{row['iterations']}" if own else None,
        has_maps=row["support_seed"] == 0,
        stages={f"shard/{name}": "shard"} | ({f"prompt/{name}": "prompt"} if own else {}),
        trainings={f"generator/{key}": "generator"} if own else {},
    )


def _put_pictures(
    store: Store, out: Path, photographs: Path, names: list[str], records: list[CellRecord], rng: np.random.Generator
) -> None:
    """For each category at the last point: a photograph, images added by both arms, and anomaly maps of three arms."""
    pictures = [decode_rgb(path.read_bytes(), 256) for path in sorted(photographs.rglob("train/good/*"))]
    turned = [np.ascontiguousarray(np.rot90(p, k)) for p in pictures for k in range(4)]
    for i, name in enumerate(names):
        own = np.stack([turned[(i + k) % len(turned)] for k in range(8)])
        data, image_id = encode_png(own[0]), "train/good/0.png"
        file = out / f"photograph-{i}.png"
        file.write_bytes(data)
        sample = Sample(image_id, "demo", name, "train", "good", 0, file, 256, 256, hashlib.sha256(data).hexdigest())
        store.put(f"shard/{name}", {"train.arrow": lambda sink, s=sample: write_split([s], "train", sink)}, {})
        for record in (record for record in records if record.category == name):
            arrays = {"images": own[:6], "masks": np.zeros((6, 256, 256), bool), "maps": _smooth(rng)}
            arrays["masks"][1:, 60:120, 80:150] = True
            arrays["maps"] = arrays["maps"].astype(np.float16)
            if record.arm == "augmented":
                arrays["added"] = own
            info = {"image_ids": [f"test/stain/{k}.png" for k in range(6)]}
            store.put(f"maps/{record.fingerprint}", {"maps.safetensors": arrays_bytes(arrays)}, info)
            if record.image_set:
                _put_training(store, record, own, rng)


def _smooth(rng: np.random.Generator) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(rng.random((8, 8))).resize((256, 256))) for _ in range(6)])


def _put_training(store: Store, record: CellRecord, images: np.ndarray, rng: np.random.Generator) -> None:
    """The image set, the trace of its training, and the ranking of prompts that chose it."""
    (generator,), prompt = record.trainings, str(record.key_of(PromptStage))
    info = {"iteration": 50, "generator": generator, "trace": "trace", "copies": 2}
    store.put(str(record.image_set), {"images.safetensors": arrays_bytes({"images": images})}, info)
    losses = {f"loss_{name}": rng.random(499) for name in LOSSES[1:]}
    scored = {"iterations": np.arange(50, 501, 50), "embeddings": rng.random((10, 2, 2)).astype(np.float32)}
    arrays = {**scored, **losses, "loss_iteration": np.arange(1.0, 500.0)}
    store.put(f"{generator}/trace", {"trace.safetensors": arrays_bytes(arrays)}, {})
    if not store.has(prompt):
        rows = tuple(
            RankedPrompt(prompt=f"a coin with {i}", word=str(i), distance=1.1, cosine=0.4 - i / 100, kept=True)
            for i in range(30)
        )
        plain = Prompt(prompt="a coin", distance=1.2, cosine=0.3)
        ranking = Ranking(object_name="coin", encoder="conse", rows=rows, only_word=plain, naive=plain).to_json()
        text = arrays_bytes({"best": np.array([1.0, 0.0], np.float32)})
        store.put(prompt, {"ranking.json": ranking.encode(), "embeddings.safetensors": text}, {})


def _pictured(records: list[CellRecord], last: Mapping[str, Any]) -> list[CellRecord]:
    """The cells that keep their pictures: those of the first support, of a generator those at the last point."""
    at_last = f"{last['vq_weight']}/{last['copies']}/{last['iterations']}"
    return [r for r in records if r.has_maps and (not r.image_set or r.image_set.endswith(at_last))]
