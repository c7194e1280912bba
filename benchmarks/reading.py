"""Images a second into tensors: from goodshot's shards against anomalib's datamodule, same images, same run.

Both give float32 images (B, 3, 256, 256) in [0, 1] in batches of 32, and boolean masks. Ours maps the shard, hashes all
that it reads, and decodes with 1 or 2 threads beside the one that uses the images; anomalib's DataLoader has 1 or 2
worker processes, started for every pass as they are by default. Nothing is kept from one pass to the next; the best of
five counts. The photographs are MVTec AD's where they lie beside the repository, else the demo's.
"""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pyarrow import fs

from goodshot.components.data import (
    Sample,
    decode_batches,
    decode_mask,
    decode_rgb,
    read_dataset,
    read_split,
    write_demo,
    write_split,
)

SIZE, BATCH, PASSES, WORKERS = 256, 32, 5, (1, 2)
REAL = Path(__file__).resolve().parents[2] / "shared" / "data"


def main() -> str:
    """Read every set both ways, check that the pixels agree, return the ratios as text."""
    warnings.filterwarnings("ignore")
    # As a DataLoader's workers do: more threads would only take the cores that decode.
    torch.set_num_threads(1)
    logging.getLogger("anomalib").setLevel(logging.ERROR)
    lines = ["reading: images/s into float32 tensors at 256 px, anomalib → goodshot"]
    with tempfile.TemporaryDirectory() as folder:
        for root, category in _sets(Path(folder)):
            lines += _compare(root, category, Path(folder))
    return "\n".join(lines)


def _sets(folder: Path) -> list[tuple[Path, str]]:
    real = [(REAL / "mvtec_ad_256", "pill"), (REAL / "mvtec_ad_256", "bottle"), (REAL, "hazelnut_toy")]
    return [s for s in real if s[0].is_dir()] or [(write_demo(folder / "demo"), "brick")]


def _compare(root: Path, category: str, folder: Path) -> list[str]:
    samples = [s for s in read_dataset("mvtec_ad", root, category) if s.split == "test"]
    shard = folder / f"{category}.arrow"
    with fs.LocalFileSystem().open_output_stream(str(shard)) as sink:
        write_split(samples, "test", sink)
    height, width = samples[0].height, samples[0].width
    lines = [f"  {category} test, {len(samples)} images of {width}×{height}"]
    for workers in WORKERS:
        theirs, their_mean = _rate(lambda w=workers: _anomalib(root, category, w))
        ours, our_mean = _rate(lambda w=workers: _shards(shard, w))
        # Pillow resizes uint8 with rounding, torchvision floats: equal but for that.
        if abs(their_mean - our_mean) > 2e-3:
            raise AssertionError(f"{category}: the mean of all pixels is {our_mean}, anomalib's {their_mean}")
        lines.append(f"    {workers} workers: {theirs:.0f} → {ours:.0f}, {ours / theirs:.1f}×")
    return [*lines, f"    one thread spends {_shares(samples)}"]


def _rate(read: Callable[[], tuple[int, float]]) -> tuple[float, float]:
    best = 0.0
    for _ in range(PASSES):
        began = time.perf_counter()
        images, mean = read()
        best = max(best, images / (time.perf_counter() - began))
    return best, mean


def _shards(shard: Path, threads: int) -> tuple[int, float]:
    total, count = 0.0, 0
    for split in decode_batches(read_split(shard), SIZE, BATCH, threads):
        images = torch.from_numpy(split.images).permute(0, 3, 1, 2).float().div_(255)
        total += float(images[:, :, ::16, ::16].mean()) * len(images)
        count += len(torch.from_numpy(split.masks))
    return count, total / count


def _anomalib(root: Path, category: str, workers: int) -> tuple[int, float]:
    total, count = 0.0, 0
    for batch in _loader(root, category, workers):
        total += float(batch.image[:, :, ::16, ::16].mean()) * len(batch.image)
        count += len(batch.gt_mask)
    return count, total / count


def _loader(root: Path, category: str, workers: int) -> Any:
    from anomalib.data import Folder, MVTecAD
    from torchvision.transforms import InterpolationMode, v2

    options = {
        "eval_batch_size": BATCH,
        "num_workers": workers,
        "augmentations": v2.Resize((SIZE, SIZE), interpolation=InterpolationMode.BICUBIC, antialias=True),
    }
    if category == "hazelnut_toy":
        # Its images are .jpg, which anomalib's MVTecAD does not look for.
        data = Folder(
            name=category,
            root=str(root / category),
            normal_dir="train/good",
            normal_test_dir="test/good",
            abnormal_dir="test/colour",
            mask_dir="ground_truth/colour",
            val_split_mode="same_as_test",
            **options,
        )
    else:
        data = MVTecAD(root=str(root), category=category, **options)
    data.setup()
    return data.test_dataloader()


def _shares(samples: list[Sample]) -> str:
    """Where a thread's time goes: decoding is what Pillow's PNG reader needs, and no reader of files avoids it."""
    files = [s.image_path.read_bytes() for s in samples]
    masks = [m.path.read_bytes() for s in samples for m in s.masks]
    took = {}
    for name, work in {
        "decoding images": lambda: [decode_rgb(data) for data in files],
        "decoding and resizing them": lambda: [decode_rgb(data, SIZE) for data in files],
        "masks": lambda: [decode_mask(data, SIZE) for data in masks],
    }.items():
        began = time.perf_counter()
        work()
        took[name] = 1e3 * (time.perf_counter() - began) / len(files)
    return ", ".join(f"{ms:.2f} ms an image on {name}" for name, ms in took.items())
