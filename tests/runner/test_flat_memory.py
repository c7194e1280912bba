"""The memory of `goodshot shard` does not grow with the dataset."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from goodshot.runner.data.sharding import read_manifest

# Not getrusage: its peak includes what the process that was forked, this one, held before.
MEASURED = """
import re, sys
from pathlib import Path
from goodshot.runner.cli import main
code = main(sys.argv[1:])
print(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
sys.exit(code)
"""
LIMIT = 2**20
SIDE = 64


def photographs(folder: Path, count: int) -> None:
    """Images of 12 KB whose bytes all differ, by a number in each."""
    folder.mkdir(parents=True)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
    for i in range(count):
        number = PngInfo()
        number.add_text("number", str(i))
        noise.save(folder / f"{i:05d}.png", pnginfo=number, compress_level=0)


def peak_kib(root: Path, out: Path) -> int:
    command = [sys.executable, "-c", MEASURED, "shard", "folder", "--root", str(root), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    return int(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_ten_times_the_images_take_no_more_memory(tmp_path: Path) -> None:
    peaks = {}
    for count in (1_000, 10_000):
        photographs(tmp_path / f"{count}/part/good", count)
        out = tmp_path / f"shards of {count}"
        peaks[count] = peak_kib(tmp_path / str(count), out)
        assert read_manifest(str(out))["categories"]["part"]["files"]["train"]["images"] == count
    print(f"peak memory: {peaks[1_000] / 1024:.0f} MB for 1,000 images, {peaks[10_000] / 1024:.0f} MB for 10,000")
    assert peaks[10_000] <= LIMIT
    # What grows is the listing: a few KB of names and hashes an image, none of its bytes (12 KB).
    assert peaks[10_000] - peaks[1_000] < 9_000 * 12
