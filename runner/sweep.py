"""Ray Tune over vq_weight × copies × iterations. A trial is one point over all categories, seeds and detectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray
from ray import tune

from components.errors import GoodshotError
from runner.plan import PlannedCell
from runner.store import Store
from runner.study import Point, Study
from runner.tracking import summarise, trial_of

Cells = dict[Point, list[PlannedCell]]

CONCURRENT_TRIALS = 4
# A trial only waits, so it takes no CPU and no GPU: one that did would starve the stages it waits for. Tune wants
# some resource all the same; memory is what a waiting process really holds.
TRIAL_MEMORY = 256 * 2**20


def run_sweep(study: Study, cells: Cells, broker: Any, tracker: Any, store_uri: str, folder: Path) -> int:
    """Run every point of the study as a trial of Ray Tune's grid.

    Args:
        cells: per point, the cells that a trial waits for.
        folder: where Tune keeps its own state.

    Returns:
        The number of trials. Trials report the mean of the study's objective over the generated cells; test labels
        choose nothing, unless it is an oracle study's.
    """
    trainable = tune.with_parameters(
        _trial,
        study=study.name,
        objective=study.objective,
        cells=cells,
        broker=broker,
        tracker=tracker,
        store_uri=store_uri,
    )
    tuner = tune.Tuner(
        tune.with_resources(trainable, tune.PlacementGroupFactory([{"memory": TRIAL_MEMORY}])),
        param_space={
            "vq_weight": tune.grid_search(list(study.vq_weight)),
            "copies": tune.grid_search(list(study.copies)),
            "iterations": tune.grid_search(list(study.iterations)),
        },
        tune_config=tune.TuneConfig(
            metric=study.objective, mode="max", reuse_actors=True, max_concurrent_trials=CONCURRENT_TRIALS
        ),
        run_config=tune.RunConfig(name=study.name, storage_path=str(folder.absolute()), verbose=0),
    )
    grid = tuner.fit()
    if grid.errors:
        first = str(grid.errors[0]).strip().splitlines()[-1]
        raise GoodshotError(f"study {study.name}: {len(grid.errors)} trials failed in Ray Tune; the first: {first}")
    return len(grid)


def _trial(
    config: dict[str, Any], study: str, objective: str, cells: Cells, broker: Any, tracker: Any, store_uri: str
) -> None:
    """One trial: wait, without resources, for the point's rows; log and report them."""
    point = Point(**config)
    found = ray.get(broker.cells.remote([planned.fingerprint for planned in cells[point]]))
    if tracker is not None:
        # Waited for, so that no run is still on its way when the cluster stops.
        ray.get(tracker.log.remote(trial_of(study, point, cells[point], found, Store(store_uri))))
    rows = [row for row in found if row is not None]
    generated = [row[objective] for row in rows if row["arm"] == "generated" and row[objective] is not None]
    value = sum(generated) / len(generated) if generated else float("nan")
    tune.report({objective: value, "rows": len(rows), **summarise(rows)})
