"""What W&B costs a sweep of many small points: the same study with runs written offline, and with W&B disabled.

Each point trains a detector on the originals and a few generated images; the points of one λ share a training. Every
CPU works for the study, so that whatever W&B's process takes is missing there. Besides the wall times, in which another
load of the machine shows, the CPU seconds of a run are stated, and from how long a point on they are below 2 %.

    python -m benchmarks.tracking [points]
"""

from __future__ import annotations

import io
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from goodshot.components.data import write_demo
from goodshot.components.detectors.config import DetectorConfig
from goodshot.components.generator.config import GeneratorConfig, VQGANConfig
from goodshot.runner.cluster.connection import cluster, usable_cpus
from goodshot.runner.data.config import DatasetConfig
from goodshot.runner.run.execute import run_studies
from goodshot.runner.run.options import Options
from goodshot.runner.study.study import Study

POINTS = 1000
LENGTHS, COPIES = 10, 5
SHARE = 0.02
"""The share of a study's time that its tracking may take."""


def study(root: Path, points: int) -> Study:
    """So many points: λ × 5 copies × 10 L."""
    weights = max(1, points // (LENGTHS * COPIES))
    network = VQGANConfig(channels=8, channel_multipliers=(1, 2), latent_channels=8, codebook_size=32)
    return Study(
        name="bench_tracking",
        dataset=DatasetConfig(name="demo", root=str(root)),
        categories=("coin",),
        support_seeds=(0,),
        arms=("original", "augmented", "generated"),
        vq_weight=tuple(0.1 * (1 + i) for i in range(weights)),
        copies=tuple(range(1, COPIES + 1)),
        iterations=tuple(range(4, 4 + 2 * LENGTHS, 2)),
        score_every=2,
        generator=GeneratorConfig(resolution=32, perceptual="none", vqgan=network),
        detectors=(DetectorConfig(image_size=64),),
    )


def main(points: int = POINTS) -> str:
    """Return both wall times, their ratio, and the CPU seconds of a run."""
    with tempfile.TemporaryDirectory() as folder:
        swept = study(write_demo(Path(folder) / "photographs"), points)
        count = len(swept.points)
        with cluster(None):
            _run(study(Path(str(swept.dataset.root)), LENGTHS * COPIES), f"{folder}/warm", "disabled")
            without, _ = _run(swept, f"{folder}/disabled", "disabled")
            seconds, cpu = _run(swept, f"{folder}/offline", "offline")
        records = len([*Path(folder, "offline/wandb/runs").glob("*.json")])
    if records != count + 1:
        raise AssertionError(f"{records} records of {count} points and their study")
    each = cpu / count
    return (
        f"tracking: {count} points, a W&B run each: {seconds:.0f} s with offline runs against {without:.0f} s without "
        f"({seconds / without:.3f} times as long); {1000 * each:.0f} ms of CPU a run, which is {SHARE:.0%} of "
        f"points that keep all {usable_cpus()} CPUs busy for {each / usable_cpus() / SHARE:.1f} s or more"
    )


def _run(swept: Study, out: str, mode: str) -> tuple[float, float]:
    """Wall seconds of a study, and CPU seconds of the processes that ended in it, of which W&B's is the only one."""
    os.environ["WANDB_MODE"] = mode
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    _, run = run_studies([swept], Options(out), Console(file=io.StringIO()))
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if run.failed or run.untracked or run.tracked != (len(swept.points) if mode == "offline" else 0):
        raise AssertionError(f"{run.failed} cells failed, {run.tracked} runs written: {run.tracking_error}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    print(main(*map(int, sys.argv[1:])))
