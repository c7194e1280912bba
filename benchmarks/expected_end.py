"""How well ``goodshot status`` foretells the end of a study, after a tenth of its time and later.

A sweep of the demo runs on a Ray of its own; its ``status.json`` is read as a person would read it. The error is the
difference between the foretold and the true end, as a share of the whole study's time. The first run knows the costs of
no stage on this machine (its cache is empty), the second one those of the first. What was finished is deleted between.

    python -m benchmarks.expected_end [supports]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import yaml

from goodshot.components.data import write_demo

ROOT = Path(__file__).parents[1]
MOMENTS = (0.1, 0.25, 0.5, 0.75)


def main(supports: int = 2) -> str:
    """Return the errors at some moments, without and with known costs."""
    lines = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = write_demo(folder / "photographs")
        for run in ("costs unknown", "costs known"):
            seconds, foretold = _run(folder, root, run.replace(" ", "_"), supports)
            errors = [f"{moment:.0%}: {_error(foretold, seconds, moment)}" for moment in MOMENTS]
            lines.append(f"{run}, {seconds:.0f} s: {', '.join(errors)}")
    return f"expected end: {'; '.join(lines)}"


def _error(foretold: list[tuple[float, float]], seconds: float, moment: float) -> str:
    later = [at + left for at, left in foretold if at >= moment * seconds]
    return f"{(later[0] - seconds) / seconds:+.0%}" if later else "nothing foretold"


def _run(folder: Path, root: Path, name: str, supports: int) -> tuple[float, list[tuple[float, float]]]:
    """Seconds of a study, and (seconds since its beginning, seconds left) as it foretold them."""
    study, out = folder / "study.yaml", folder / name
    fields = {
        "name": "foretold", "dataset": {"name": "demo", "root": str(root)}, "support_seeds": [*range(supports)],
        "arms": ["original", "augmented", "generated"], "vq_weight": [0.5, 1.0], "copies": [5, 10],
        "iterations": [20, 40], "detectors": [{"image_size": 128}],
    }  # fmt: skip
    study.write_text(yaml.safe_dump(fields))
    environment = {
        **os.environ, "GOODSHOT_CACHE": str(folder / "cache"), "WANDB_MODE": "disabled",
        "PYTHONPATH": str(ROOT / "src"),
    }  # fmt: skip
    began, foretold = time.time(), []
    process = subprocess.Popen(
        [sys.executable, "-m", "goodshot.runner", "sweep", str(study), "--out", str(out)],
        env=environment, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    last = ""
    while process.poll() is None:
        with suppress(OSError, ValueError):
            status = json.loads((out / "status.json").read_text())
            if status["written"] != last and status["seconds_left"] is not None and status["state"] == "running":
                last = status["written"]
                foretold.append((time.time() - began, float(status["seconds_left"])))
        time.sleep(0.2)
    if process.returncode:
        raise AssertionError(f"the study ended with {process.returncode}")
    return time.time() - began, foretold


if __name__ == "__main__":
    print(main(*map(int, sys.argv[1:])))
