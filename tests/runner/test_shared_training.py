"""Sharing at size: 4 λ × 6 copies × 5 L × 3 supports × 2 categories train one generator a λ, support and category."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from goodshot.runner.plan.plan import Plan, planned_steps, unshared_steps
from goodshot.runner.results.results import Results
from goodshot.runner.results.sharing import sharing
from goodshot.runner.run.execute import plan_studies, run_studies
from goodshot.runner.run.options import Options, Run
from goodshot.runner.stages.image_set import ImageSetStage
from goodshot.runner.stages.training import TrainingStage
from goodshot.runner.study.settings import validate
from goodshot.runner.study.study import Study
from tests.conftest import TINY

AXES: dict[str, Any] = {
    "categories": ["brick", "coin"],
    "support_seeds": [0, 1, 2],
    "vq_weight": [0.1, 0.3, 1.0, 3.0],
    "copies": [1, 2, 3, 4, 5, 6],
    "iterations": [2, 4, 6, 8, 10],
    "arms": ["generated"],
}
CELLS, TRAININGS = 4 * 6 * 5 * 3 * 2, 4 * 3 * 2
UNSHARED = TRAININGS * 6 * (1 + 3 + 5 + 7 + 9)
"""Steps of a training for each cell: of every support, category and λ, each of the 6 copies from scratch to each L."""


def image_sets(plan: Plan) -> dict[str, list[ImageSetStage]]:
    """Training → the image sets that it is to make."""
    found: dict[str, list[ImageSetStage]] = {stage.id: [] for stage in plan.of(TrainingStage)}
    for image_set in plan.of(ImageSetStage):
        found[image_set.training].append(image_set)
    return found


def longest(plan: Plan) -> list[int]:
    """The largest L of each training."""
    return [max(each.iterations for each in owed) for owed in image_sets(plan).values()]


def test_the_plan_has_one_generator_for_all_copies_and_iterations(
    tiny_study: Callable[..., Study], tmp_path: Path
) -> None:
    plan = plan_studies([tiny_study(**AXES)], Options(str(tmp_path)))
    assert len(plan.cells) == CELLS == 720
    assert len(image_sets(plan)) == TRAININGS == 24
    assert {len(owed) for owed in image_sets(plan).values()} == {6 * 5}
    assert {*longest(plan)} == {10}
    assert planned_steps(plan, plan.cells.values()) == TRAININGS * 9
    assert unshared_steps(plan, plan.cells.values()) == UNSHARED == 3600


def test_iterations_are_eighteen_times_fewer_where_l_is_evenly_spaced(
    tiny_study: Callable[..., Study], tmp_path: Path
) -> None:
    """Up to L and the largest L; updates are one fewer in each training, because set L is sampled before update L."""
    plan = plan_studies([tiny_study(**AXES)], Options(str(tmp_path)))
    points = [p.cell.generation.point for p in plan.cells.values() if p.cell.generation]
    assert sum(p.iterations for p in points) == 18 * sum(longest(plan))


@dataclass(frozen=True)
class Ran:
    """A finished sweep."""

    study: Study
    plan: Plan
    run: Run
    out: str


@pytest.fixture(scope="module")
def ran(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The whole sweep through Ray and Tune: two minutes on two cores, hence ``slow``."""
    study = validate({**TINY, **AXES, "dataset": {"name": "demo", "root": str(photographs)}}, "tiny")
    out = str(tmp_path_factory.mktemp("sharing"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        plan, run = run_studies([study], Options(out, cpus=2), Console(quiet=True))
    return Ran(study, plan, run, out)


@pytest.mark.slow
def test_each_stage_of_the_sweep_runs_once(ran: Ran) -> None:
    assert ran.run.failed == 0
    assert ran.run.executed == {"shard": 2, "prompt": 6, "generator": TRAININGS, "detection": CELLS}


@pytest.mark.slow
def test_each_generator_trains_to_the_largest_l_and_no_further(ran: Ran) -> None:
    assert ran.run.generator_steps == dict.fromkeys(image_sets(ran.plan), 10 - 1)
    counted = sharing(ran.study, ran.plan, ran.run.generator_steps, Results(ran.out))
    assert (counted.this_run, counted.unshared) == (TRAININGS * 9, UNSHARED)


@pytest.mark.slow
def test_each_cell_has_one_row(ran: Ran) -> None:
    table = Results(ran.out).read("results").to_pylist()
    assert not Results(ran.out).read("failures").num_rows
    assert sorted(row["fingerprint"] for row in table) == sorted(ran.plan.cells)
    axes = ("category", "support_seed", "vq_weight", "copies", "iterations")
    assert set(Counter(tuple(row[axis] for axis in axes) for row in table).values()) == {1}
    assert all(row["chosen_iteration"] <= row["iterations"] for row in table)
