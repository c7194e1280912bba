"""What sharing saves: a sweep through goodshot against a plain Ray Tune sweep, same machine, same run, same numbers.

The peer is the obvious way to sweep: each Ray Tune trial trains a generator of its own for its own L and copies,
chooses its set, and trains its detector; actors are reused, so it pays for imports once per worker. Both do
4 vq_weight × 6 copies × 5 evenly spaced iterations on one category and one support of the demo's photographs, on every
CPU; a training takes more than twenty times as long as a detection. It takes some 23 minutes on two cores, of which
goodshot needs two. A third of those are processes that start: Ray and Tune, then one after the other those of the
shard, the prompt, the generators and the detectors. So the ratio of the wall times grows with the iterations.

Iteration l samples and scores, where it is due, and then makes update l. The peer runs iterations 1 to L of each cell
and makes L updates. goodshot runs up to the largest L, once a weight, and leaves out the last update, which no image
set needs; so its updates are a little more than 18 times fewer, and its iterations exactly.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from goodshot.components.data import write_demo
from goodshot.components.detectors.config import DetectorConfig
from goodshot.components.generator.config import GeneratorConfig
from goodshot.runner.cells.detection import DetectionStage
from goodshot.runner.data.config import DatasetConfig
from goodshot.runner.plan.plan import Plan
from goodshot.runner.results.results import Results
from goodshot.runner.run.execute import plan_studies, run_studies
from goodshot.runner.run.options import Options, Run
from goodshot.runner.stages.training import TrainingStage
from goodshot.runner.study.study import Study

COMPARED = ("image_auroc", "pixel_auroc", "aupro", "chosen_iteration", "similarity")

Rows = Mapping[str, Mapping[str, Any]]


def study(root: Path) -> Study:
    """120 points over one category and one support; evenly spaced L."""
    return Study(
        name="bench_sharing",
        dataset=DatasetConfig(name="demo", root=str(root)),
        categories=("coin",),
        support_seeds=(0,),
        arms=("generated",),
        vq_weight=(0.1, 0.3, 1.0, 3.0),
        copies=(1, 2, 3, 4, 5, 6),
        iterations=(40, 80, 120, 160, 200),
        score_every=40,
        generator=GeneratorConfig(resolution=64),
        detectors=(DetectorConfig(image_size=64),),
    )


def main() -> str:
    """Run both, compare cell by cell, return the ratios as text. Raises if any row differs."""
    os.environ["WANDB_MODE"] = "disabled"  # the peer tracks nothing either
    with tempfile.TemporaryDirectory() as folder:
        swept = study(write_demo(Path(folder) / "photographs"))
        options = Options(f"{folder}/shared")
        began = time.perf_counter()
        plan, run = run_studies([swept], options, Console())
        ours = time.perf_counter() - began
        rows = Results(options.out).rows()
        began = time.perf_counter()
        theirs_rows = plain_sweep(swept, plan_studies([swept], options), options.store_uri)
        theirs = time.perf_counter() - began
    _compare(rows, theirs_rows, plan)
    return (
        f"sharing: {len(rows)} cells, rows equal; {_counts(run, theirs_rows)}; wall {ours:.0f} s against "
        f"{theirs:.0f} s ({theirs / ours:.1f} times less, start of Ray included in both)"
    )


def _compare(ours: Rows, theirs: Rows, plan: Plan) -> None:
    """Raise unless both have every cell, with equal numbers."""
    if not set(ours) == set(theirs) == set(plan.cells):
        raise AssertionError(f"{len(ours)} and {len(theirs)} rows of {len(plan.cells)} cells")
    different = [f for f in theirs if any(ours[f][name] != theirs[f][name] for name in COMPARED)]
    if different:
        raise AssertionError(f"{len(different)} of {len(theirs)} rows differ from the plain sweep's")


def _counts(run: Run, theirs: Rows) -> str:
    """Iterations run and updates made by both; the last iteration of a training of goodshot's is one without update."""
    updates = sum(run.generator_steps.values()), sum(row["updates"] for row in theirs.values())
    iterations = updates[0] + run.executed["generator"], updates[1]
    texts = [
        f"{name} {ours} against {others} ({others / ours:.1f} times fewer)"
        for name, (ours, others) in (("iterations", iterations), ("updates made", updates))
    ]
    return ", ".join(texts)


def plain_sweep(swept: Study, plan: Plan, store_uri: str) -> dict[str, dict[str, Any]]:
    """The peer: fingerprint → the cell's numbers. It reads the same shards and prompt, and shares nothing else."""
    from goodshot.runner.cluster.connection import cluster

    with cluster(None), tempfile.TemporaryDirectory() as folder:
        from ray import tune

        by_point = {cell.cell.generation.point: cell for cell in plan.cells.values() if cell.cell.generation}
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(_plain_trial, cells=by_point, plan=plan, store_uri=store_uri), {"cpu": 1}
            ),
            param_space={
                "vq_weight": tune.grid_search(list(swept.vq_weight)),
                "copies": tune.grid_search(list(swept.copies)),
                "iterations": tune.grid_search(list(swept.iterations)),
            },
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        return {result.metrics["fingerprint"]: result.metrics for result in tuner.fit()}


def _plain_trial(config: dict[str, Any], cells: dict[Any, DetectionStage], plan: Plan, store_uri: str) -> None:
    from ray import tune

    from goodshot.components.detectors import build_detector
    from goodshot.components.metrics.detection import evaluate
    from goodshot.runner.cluster.connection import start_worker
    from goodshot.runner.stages.shard import read_support, read_test
    from goodshot.runner.store.artifacts import Store
    from goodshot.runner.study.study import Point

    start_worker(1)
    stage, store = cells[Point(**config)], Store(store_uri)
    originals = read_support(stage.support, store)
    images, facts = _generated(stage, plan, originals, store)
    detector = build_detector(stage.detector, stage.cell.seed)
    detector.fit([*(o[None] for o in originals), images])
    test = read_test(store, stage.support.shard, stage.detector.image_size)
    metrics = evaluate(detector.score(test.images), test.labels, test.masks)
    numbers = {name: getattr(metrics, name) for name in ("image_auroc", "pixel_auroc", "aupro")}
    tune.report({**numbers, **facts, "fingerprint": stage.fingerprint})


def _generated(stage: DetectionStage, plan: Plan, originals: list[Any], store: Any) -> tuple[Any, dict[str, Any]]:
    """Train one generator from scratch through this trial's own L and keep its best set (eq. 5)."""
    from goodshot.components.generator.generator import Generator
    from goodshot.components.integrator import EMPTY, choose
    from goodshot.runner.stages.prompt import cached_encoder, embed, text_embedding

    generation = stage.cell.generation
    training = plan.producer(plan.stages[str(stage.added.image_set)])
    if generation is None or not isinstance(training, TrainingStage):
        raise ValueError("only generated cells are swept here")
    encoder, point = cached_encoder(training.encoder), generation.point
    text = text_embedding(store, str(stage.added.prompt), generation.prompt_kind)
    generator = Generator(originals, training.config, training.vq_weight, training.seed, training.augmentation)
    trace, sets = EMPTY, {}
    for iteration in range(1, point.iterations + 1):
        if iteration % training.score_every == 0:
            sets[iteration] = generator.sample(point.copies)
            trace = trace.extended(iteration, embed(encoder, sets[iteration]))
        generator.step()
    chosen = choose(trace, text, point.copies, point.iterations, "text")
    facts = {"chosen_iteration": chosen.iteration, "similarity": chosen.similarity, "updates": generator.iteration}
    return sets[chosen.iteration], facts
