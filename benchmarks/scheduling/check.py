"""Does the simulation tell the truth? The same plan on a real Ray of this machine, with stages that sleep.

    python -m benchmarks.scheduling.check

Stages sleep for as long as the simulation takes them to last, so that a machine of two cores can run eight at once.
What is left to differ is Ray: the start of processes, its placement, its messages.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import ray

from benchmarks.scheduling.cluster import Node
from benchmarks.scheduling.simulation import simulate
from goodshot.components.data import write_demo
from goodshot.components.generator.config import GeneratorConfig
from goodshot.runner.cells import Measured
from goodshot.runner.cells.detection import DetectionStage
from goodshot.runner.cluster.broker import Broker, BrokerOptions
from goodshot.runner.cluster.connection import cluster
from goodshot.runner.data.config import DatasetConfig
from goodshot.runner.plan.plan import Plan
from goodshot.runner.results.results import Results
from goodshot.runner.run.execute import plan_studies
from goodshot.runner.run.options import Options
from goodshot.runner.stages.base import Context, Stage
from goodshot.runner.stages.prompt import PromptStage
from goodshot.runner.stages.shard import ShardStage
from goodshot.runner.stages.training import TrainingStage
from goodshot.runner.study.study import Study

SIZES = (2, 4, 8)
SHARD, PROMPT, STEP, CELL = 0.5, 1.0, 0.1, 0.8
"""Seconds of each stage, of each iteration of a training, and of each cell."""
PROCESS_SECONDS = 1.5
"""The start of a process that does not import torch."""


class _Sleeps(Stage):
    """A stage that sleeps instead of computing."""

    computes = False
    reads: tuple[()] = ()  # type: ignore[assignment]

    def run(self, context: Context, wanted: Sequence[Stage]) -> Any:
        """Sleep, and commit empty artifacts."""
        passed = 0.0
        for made in sorted(wanted, key=lambda stage: getattr(stage, "iterations", 0)):
            until = seconds_of(self, [made])
            time.sleep(max(0.0, until - passed))
            passed = max(passed, until)
            if not isinstance(self, DetectionStage):
                context.store.put(made.key, {}, {})
                context.announce(made.id)
        return Measured({"n_test": 0}) if isinstance(self, DetectionStage) else None


class SleepingShard(_Sleeps, ShardStage):
    """A shard that is not written."""


class SleepingPrompt(_Sleeps, PromptStage):
    """A ranking that is not made."""


class SleepingTraining(_Sleeps, TrainingStage):
    """A training without a network."""


class SleepingDetection(_Sleeps, DetectionStage):
    """A detection without a detector."""


SLEEPING: dict[type[Stage], type[Stage]] = {
    ShardStage: SleepingShard,
    PromptStage: SleepingPrompt,
    TrainingStage: SleepingTraining,
    DetectionStage: SleepingDetection,
}


def seconds_of(stage: Stage, wanted: Sequence[Stage]) -> float:
    """How long a stage lasts."""
    if isinstance(stage, ShardStage):
        return SHARD
    if isinstance(stage, PromptStage):
        return PROMPT
    if isinstance(stage, TrainingStage):
        return STEP * max(getattr(made, "iterations", 0) for made in wanted)
    return CELL


def main() -> str:
    """Return real and simulated seconds for each size."""
    lines = []
    for cpus in SIZES:
        with tempfile.TemporaryDirectory() as folder, cluster(None, cpus):
            plan, options = _plan(Path(folder))
            real = _real(plan, options, cpus)
            simulated = simulate(plan, [Node(f"{1:056x}", cpus, 0)], seconds=seconds_of, start=PROCESS_SECONDS).seconds
        print(f"{cpus} CPUs: {real:.1f} s, simulated {simulated:.1f} s", flush=True)
        lines.append(f"{cpus} CPUs: {real:.1f} s, simulated {simulated:.1f} s ({simulated / real - 1:+.0%})")
    return "\n".join(lines)


def _plan(folder: Path) -> tuple[Plan, Options]:
    study = Study(
        name="check",
        dataset=DatasetConfig(name="demo", root=str(write_demo(folder / "photographs"))),
        support_seeds=(0, 1),
        arms=("original", "generated"),
        vq_weight=(0.5, 1.0),
        copies=(1, 2),
        iterations=(10, 20, 40),
        generator=GeneratorConfig(resolution=64),
    )
    options = Options(str(folder / "out"))
    plan = plan_studies([study], options)
    plan.stages = {id_: _asleep(stage) for id_, stage in plan.stages.items()}
    plan.cells = {fingerprint: _asleep(cell) for fingerprint, cell in plan.cells.items()}  # type: ignore[misc]
    return plan, options


def _asleep(stage: Stage) -> Stage:
    made = SLEEPING.get(type(stage))
    return made(**{f.name: getattr(stage, f.name) for f in fields(stage) if f.init}) if made else stage


def _real(plan: Plan, options: Options, cpus: int) -> float:
    actor = ray.remote(Broker).options(num_cpus=0, max_concurrency=100_000)
    broker = actor.remote(BrokerOptions(options.store_uri, Results(options.out_uri), [{"CPU": float(cpus)}]))
    ray.get(broker.learn.remote(plan))  # type: ignore[union-attr]
    began = time.perf_counter()
    failed = ray.get(broker.run.remote([*plan.cells]))  # type: ignore[union-attr]
    took = time.perf_counter() - began
    ray.get(broker.close.remote())  # type: ignore[union-attr]
    ray.kill(broker)  # type: ignore[arg-type]
    if failed:
        raise AssertionError(f"{failed} cells failed: {Results(options.out).read('failures').to_pylist()[:1]}")
    return took


if __name__ == "__main__":
    print(main())
