"""What sharing saves: a sweep through goodshot against a plain Ray Tune sweep, same machine, same run, same numbers.

The peer is the obvious way to sweep: each Ray Tune trial trains a generator of its own for its own L and copies,
chooses its set, and trains its detector; actors are reused, so it pays for imports once per worker. Both do
2 vq_weight × 3 copies × 3 iterations on one category and one support of the demo's photographs, on every CPU.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from components.data.demo import write_demo
from components.detectors.config import DetectorConfig
from components.generator.config import GeneratorConfig
from runner.execute import plan_studies, run_studies, sharing
from runner.plan import Plan, PlannedCell
from runner.results import Results
from runner.run import Options
from runner.study import DatasetConfig, Study


def study(root: Path) -> Study:
    """Eighteen points over one category and one support; evenly spaced L."""
    return Study(
        name="bench_sharing",
        dataset=DatasetConfig(name="demo", root=str(root)),
        categories=("coin",),
        support_seeds=(0,),
        arms=("generated",),
        vq_weight=(0.3, 1.0),
        copies=(2, 4, 6),
        iterations=(20, 40, 60),
        generator=GeneratorConfig(resolution=64),
        detectors=(DetectorConfig(image_size=64),),
    )


def main() -> str:
    """Run both, compare cell by cell, return the ratios as text. Raises if any row differs."""
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        swept = study(write_demo(Path(folder) / "photographs"))
        options = Options(f"{folder}/shared")
        began = time.perf_counter()
        plan, run = run_studies([swept], options, console)
        ours = time.perf_counter() - began
        rows = Results(options.out).rows()
        began = time.perf_counter()
        theirs_rows = plain_sweep(swept, plan_studies([swept], options), options.store_uri)
        theirs = time.perf_counter() - began
        counted = sharing(swept, plan, run, options.out)
    different = [f for f, value in theirs_rows.items() if rows[f]["image_auroc"] != value]
    if different or len(theirs_rows) != len(plan.cells):
        raise AssertionError(f"{len(different)} of {len(theirs_rows)} rows differ from the plain sweep's")
    return (
        f"sharing: {len(rows)} cells, rows equal; generator steps {counted.this_run} against {counted.unshared} "
        f"({counted.unshared / counted.this_run:.1f} times fewer); wall {ours:.0f} s against {theirs:.0f} s "
        f"({theirs / ours:.1f} times less, start of Ray included in both)"
    )


def plain_sweep(swept: Study, plan: Plan, store_uri: str) -> dict[str, float]:
    """The peer: fingerprint → image AUROC. It reads the same shards and prompt, and shares nothing else."""
    from runner.cluster import cluster

    with cluster(None), tempfile.TemporaryDirectory() as folder:
        from ray import tune

        by_point = {
            planned.cell.generation.point: planned for planned in plan.cells.values() if planned.cell.generation
        }
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
        return {result.metrics["fingerprint"]: result.metrics["image_auroc"] for result in tuner.fit()}


def _plain_trial(config: dict[str, Any], cells: dict[Any, PlannedCell], plan: Plan, store_uri: str) -> None:
    from ray import tune

    from components.detectors import build_detector
    from components.metrics.detection import evaluate
    from runner.cluster import start_worker
    from runner.shards import read_support, read_test
    from runner.store import Store
    from runner.study import Point

    start_worker(1)
    planned, store = cells[Point(**config)], Store(store_uri)
    originals = read_support(planned.support, store)
    images = _chosen_images(planned, plan, originals, store)
    detector = build_detector(planned.cell.detector, planned.cell.seed)
    detector.fit([*(o[None] for o in originals), images])
    test = read_test(store, planned.support.shard, planned.cell.detector.image_size)
    metrics = evaluate(detector.score(test.images), test.labels, test.masks)
    tune.report({"image_auroc": metrics.image_auroc, "fingerprint": planned.fingerprint})


def _chosen_images(planned: PlannedCell, plan: Plan, originals: list[Any], store: Any) -> Any:
    """Train one generator from scratch up to this trial's own L and keep its best set (eq. 5)."""
    from components.generator.generator import Generator
    from components.integrator import EMPTY, choose
    from runner.image_sets import embed
    from runner.stages import cached_encoder

    stage, generation = plan.generators[planned.generator or ""], planned.cell.generation
    if generation is None:
        raise ValueError("only generated cells are swept here")
    encoder = cached_encoder(stage.encoder)
    text = store.get(planned.prompt).arrays("embeddings.safetensors")[generation.prompt_kind]
    generator = Generator(originals, stage.config, stage.vq_weight, stage.seed, stage.augmentation)
    trace, sets = EMPTY, {}
    point = generation.point
    for iteration in range(stage.score_every, point.iterations + 1, stage.score_every):
        generator.advance(iteration - 1)
        sets[iteration] = generator.sample(point.copies)
        trace = trace.extended(iteration, embed(encoder, sets[iteration]))
    return sets[choose(trace, text, point.copies, point.iterations, "text").iteration]
