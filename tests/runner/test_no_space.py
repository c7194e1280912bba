"""No space left: one line with the remedy, what was finished is intact, and more space is all it takes to go on.

On a file system of 1 MB in a namespace of its own (it goes with its process), and under a limit on the size of a file,
which needs no rights.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data import miniatures

PRELUDE = """
import contextlib, io, json, resource, subprocess, sys
from pathlib import Path
from goodshot.components.errors import GoodshotError
from goodshot.runner.cli import main
from goodshot.runner.results.results import Results
from goodshot.runner.store.artifacts import Store

kind, place, root = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
place.mkdir()
ballast = place / "ballast"
NO_LIMIT = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

def fill(leave):
    if kind == "disk":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=True)
        ballast.write_bytes(bytes(2**20 - leave))
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (leave, NO_LIMIT))

def grow():
    if kind == "disk":
        subprocess.run(["mount", "-o", "remount,size=32m", place], check=True)
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (NO_LIMIT, NO_LIMIT))

def told(call):
    try:
        call()
    except GoodshotError as error:
        return str(error)
    return "nothing was wrong"

def shard():
    printed, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(complained):
        code = main(["shard", "folder", "--root", root, "--out", str(place / "out")])
    lines = [line for line in complained.getvalue().splitlines() if line]
    return [code, printed.getvalue().splitlines(), lines]

def files():
    return sorted(str(p.relative_to(place)) for p in place.rglob("*") if p.is_file() and p != ballast)

seen = {}
"""
PLACES = ("disk", "limit")


@pytest.fixture(params=PLACES)
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "disk" and subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    return str(request.param)


def seen_by(kind: str, steps: str, tmp_path: Path) -> dict[str, Any]:
    """What the steps saw, in a process of their own."""
    own = ["unshare", "-rm"] if kind == "disk" else []
    code = PRELUDE + steps + "\nprint(json.dumps(seen))"
    command = [*own, sys.executable, "-c", code, kind, str(tmp_path / "place"), str(tmp_path / "parts")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert not done.returncode, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_sharding_stops_in_one_line_and_continues(kind: str, tmp_path: Path) -> None:
    miniatures.own(tmp_path / "parts/bolt", bad=2)
    folder = tmp_path / "parts/plate/good"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(40):
        Image.fromarray(rng.integers(0, 256, (160, 160, 3), dtype=np.uint8)).save(folder / f"{i:02d}.png")
    steps = """
fill(leave=700_000)
seen["stopped"], seen["left"] = shard(), files()
seen["manifest"] = list(json.loads((place / "out/manifest.json").read_text())["categories"])
grow()
seen["continued"], seen["then"] = shard(), files()
"""
    seen = seen_by(kind, steps, tmp_path)
    code, printed, complaints = seen["stopped"]
    assert (code, printed) == (1, ["bolt: written, 11 images"])
    (line,) = complaints
    assert f"{tmp_path}/place/out/plate/" in line
    assert ("no space left on device; make room" if kind == "disk" else "file too large; make room") in line
    assert line.endswith("the same command then continues")
    assert [Path(name).name for name in seen["left"]] == ["test.arrow", "train.arrow", "manifest.json"]
    assert seen["manifest"] == ["bolt"]
    assert seen["continued"] == [0, ["bolt: unchanged, 11 images", "plate: written, 40 images"], []]
    assert {*seen["left"]} < {*seen["then"]}


def test_an_artifact_is_whole_or_not_there(kind: str, tmp_path: Path) -> None:
    steps = """
fill(leave=500_000)
store = Store(str(place / "store"))
store.put("maps/small", {"a.bin": b"small"}, {})
large = {"a.bin": bytes(100_000), "b.bin": bytes(600_000)}
pieces = {"a.bin": lambda sink: [sink.write(bytes(100_000)) for _ in range(6)]}
seen["told"] = [told(lambda: store.put("maps/large", large, {})), told(lambda: store.put("maps/pieces", pieces, {}))]
seen["left"] = files()
seen["there"] = [store.has("maps/large"), store.has("maps/pieces"), store.get("maps/small").read("a.bin").decode()]
grow()
after = [store.put("maps/large", large, {}).read("b.bin"), store.put("maps/pieces", pieces, {}).read("a.bin")]
seen["then"] = [len(data) for data in after]
"""
    seen = seen_by(kind, steps, tmp_path)
    for line in seen["told"]:
        assert "make room there, or choose another place; the same command then continues" in line
    assert len(seen["left"]) == 2
    assert all(name.startswith("store/maps/small/") for name in seen["left"])
    assert seen["there"] == [False, False, "small"]
    assert seen["then"] == [600_000, 600_000]


def test_a_row_that_has_no_place_is_not_there(kind: str, tmp_path: Path) -> None:
    steps = """
results = Results(str(place / "out"))
def append(name):
    results.append(name, {"fingerprint": name, "image_auroc": 0.5}, [], [])
if kind == "disk":
    fill(leave=64 * 1024)
append("first")
if kind == "disk":
    ballast.write_bytes(bytes(2**20 - sum((f.stat().st_size + 4095) // 4096 * 4096 for f in place.rglob("*.arrows"))))
else:
    fill(leave=1000)
seen["told"] = told(lambda: append("second"))
seen["finished"], seen["left"] = sorted(results.finished()), files()
grow()
append("second")
seen["then"] = sorted(results.rows())
"""
    seen = seen_by(kind, steps, tmp_path)
    assert "make room there, or choose another place; the same command then continues" in seen["told"]
    assert seen["finished"] == ["first"]
    assert not [name for name in seen["left"] if ".tmp-" in name]
    assert seen["then"] == ["first", "second"]
