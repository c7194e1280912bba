"""Pixel AUROC and AUPRO of one category: goodshot against anomalib's metrics and scikit-learn, same maps, same run.

167 maps of smooth texture and noise with elliptic defects that raise their scores, a seventh of the images good, scaled
into [0, 1] for all, because anomalib's metrics squash anything outside. Every measurement is a process of its own with
two CPU threads; its time is that of the metric alone, its peak that of the process less what it held before (the maps).
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

IMAGES, GOOD, SIZES = 167, 26, (256, 1024)
TIMEOUT = 900
FIELDS = ["anomaly_map", "gt_mask"]
Maps, Masks = NDArray[np.float32], NDArray[np.bool_]


def main() -> str:
    """Measure every metric by everyone, check that equal things are equal, return the ratios as text."""
    lines = [f"metrics: {IMAGES} maps; time of the metric, and peak memory above that of holding the maps"]
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            marked = _write(Path(folder), size)
            lines.append(f"  {size}², {marked:.1%} of the pixels in defects")
            for metric, makers in METRICS.items():
                found = {maker: _measured(Path(folder), metric, maker) for maker in makers}
                lines += _compared(metric, found)
    return "\n".join(lines)


def _compared(metric: str, found: dict[str, dict[str, float] | str]) -> list[str]:
    ours = found.pop("goodshot")
    assert isinstance(ours, dict), ours
    lines = [f"    {metric} {ours['value']:.5f}: goodshot {ours['seconds']:.1f} s, {ours['gigabytes']:.2f} GB"]
    for maker, theirs in found.items():
        if isinstance(theirs, str):
            lines.append(f"      {maker}: {theirs}")
            continue
        difference = abs(ours["value"] - theirs["value"])
        # anomalib samples the curve of AUPRO and adds up in float32.
        assert difference < (1e-9 if maker == "scikit-learn" else 5e-3), (metric, maker, ours, theirs)
        lines.append(
            f"      {maker} {theirs['seconds']:.1f} s ({theirs['seconds'] / ours['seconds']:.1f}×), "
            f"{theirs['gigabytes']:.2f} GB ({theirs['gigabytes'] / ours['gigabytes']:.1f}×), "
            f"differs by {difference:.0e}"
        )
    return lines


def _write(folder: Path, size: int) -> float:
    """Write maps and masks of one size; returns the share of pixels in defects."""
    from scipy import ndimage

    rng = np.random.default_rng(0)
    shape = (IMAGES, size, size)
    maps = np.lib.format.open_memmap(folder / "maps.npy", "w+", np.float32, shape)
    masks = np.lib.format.open_memmap(folder / "masks.npy", "w+", np.bool_, shape)
    rows, columns = np.mgrid[:size, :size].astype(np.float32) / size
    for i in range(IMAGES):
        smooth = ndimage.zoom(rng.normal(size=(32, 32)).astype(np.float32), size / 32, order=1)
        maps[i] = 20 + 2 * smooth + rng.normal(scale=0.3, size=(size, size))
        for _ in range(rng.integers(1, 4) if i >= GOOD else 0):
            y, x, radius = rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8), rng.uniform(0.03, 0.12)
            distance = (rows - y) ** 2 + (columns - x) ** 2
            masks[i] |= distance < radius**2
            maps[i] += 6 * np.exp(-distance / (1.3 * radius**2))
    low, high = maps.min(), maps.max()
    for of_image in maps:
        of_image[:] = (of_image - low) / (high - low)
    return float(masks.mean())


def _measured(folder: Path, metric: str, maker: str) -> dict[str, float] | str:
    command = [sys.executable, "-m", "benchmarks.metrics", str(folder), metric, maker]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return f"not done after {TIMEOUT} s"
    if done.returncode:
        return f"ended with code {done.returncode} (out of memory?)" if done.returncode < 0 else done.stderr[-200:]
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _measure(folder: Path, metric: str, maker: str) -> None:
    """In a process of its own: read the arrays, import what the metric needs, then measure it."""
    maps, masks = (np.load(folder / f"{name}.npy") for name in ("maps", "masks"))
    compute = METRICS[metric][maker]()
    before = _peak()
    began = time.perf_counter()
    value = compute(maps, masks)
    seconds = time.perf_counter() - began
    print(json.dumps({"value": value, "seconds": seconds, "gigabytes": _peak() - before}))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _goodshot(name: str) -> Callable[[Maps, Masks], float]:
    from scipy import ndimage  # noqa: F401 - its import is no part of the metric

    from goodshot.components.metrics import detection

    return getattr(detection, name)  # type: ignore[no-any-return]


def _scikit_learn() -> Callable[[Maps, Masks], float]:
    from sklearn.metrics import roc_auc_score

    return lambda maps, masks: float(roc_auc_score(masks.ravel(), maps.ravel()))


def _anomalib(name: str) -> Callable[[Maps, Masks], float]:
    import torch
    from anomalib import metrics
    from anomalib.data import ImageBatch

    torch.set_num_threads(2)

    def compute(maps: Maps, masks: Masks) -> float:
        metric: Any = getattr(metrics, name)(fields=FIELDS)
        for start in range(0, len(maps), 32):
            some = torch.from_numpy(maps[start : start + 32])
            marked = torch.from_numpy(masks[start : start + 32])
            # The image itself is not looked at.
            metric.update(ImageBatch(image=torch.zeros(len(some), 3, 1, 1), anomaly_map=some, gt_mask=marked))
        return float(metric.compute())

    return compute


METRICS: dict[str, dict[str, Callable[[], Callable[[Maps, Masks], float]]]] = {
    "pixel AUROC": {
        "goodshot": lambda: _goodshot("pixel_auroc"),
        "anomalib": lambda: _anomalib("AUROC"),
        "scikit-learn": _scikit_learn,
    },
    "AUPRO": {"goodshot": lambda: _goodshot("aupro"), "anomalib": lambda: _anomalib("AUPRO")},
}

if __name__ == "__main__":
    _measure(Path(sys.argv[1]), *sys.argv[2:])
