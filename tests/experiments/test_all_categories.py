"""The sweep and Figs. 5, 6 and 7 on layout-exact miniatures of all 23 categories, in one go: nothing is made twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from goodshot.components.data.datasets import dataset_of
from goodshot.runner.named import load_studies
from goodshot.runner.plan.plan import Plan
from goodshot.runner.results.results import Results
from goodshot.runner.results.verifying import verify
from goodshot.runner.run.execute import plan_studies, run_studies
from goodshot.runner.run.options import Options, Run
from goodshot.runner.stages.prompt import PromptStage
from goodshot.runner.stages.shard import ShardStage
from goodshot.runner.stages.training import TrainingStage
from goodshot.runner.store.artifacts import Store
from goodshot.runner.study.study import Study
from tests.conftest import TINY
from tests.data import miniatures

CATEGORIES = {"mvtec_ad": 15, "mvtec_loco": 5, "btad": 3}
SCALED = [
    "preset=default",
    "detail=none",
    "post_augment=none",
    "support_seeds=0",
    "copies=2",
    "iterations=4",
    "score_every=2",
    f"generator={TINY['generator']}",
    "detectors=[{image_size: 64}]",
]
"""The real flavours on embedded weights, one support, a generator that trains for four iterations."""
GRID = ["vq_weight=[0.3, 1]", "copies=[1, 2]", "iterations=[2, 4]"]
"""Of the sweep, a grid that contains the single point of the figures: λ = 1, two images, L = 4."""
POINTS, BASELINES = 2 * 2 * 2, 1 + 2
"""Generated cells of a category in the sweep, and its baselines: the original, and plain augmentation by copies."""


def scaled(roots: dict[str, Path]) -> list[Study]:
    """All studies of the four experiments, read from these roots."""
    studies: list[Study] = []
    for name in ("sweep", "fig5", "fig6", "fig7"):
        own = load_studies(name)[1]
        read = dict.fromkeys(study.dataset.name for study in own)
        given = [f"{dataset}={roots[dataset]}" for dataset in read]
        studies += load_studies(name, [*SCALED, *(GRID if name == "sweep" else [])], roots=given)[1]
    return studies


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return miniatures.every_category(tmp_path_factory.mktemp("all"))


@pytest.fixture(scope="module")
def plan(roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return plan_studies(scaled(roots), Options(str(tmp_path_factory.mktemp("plan"))))


def test_every_category_of_the_three_datasets_is_planned(plan: Plan) -> None:
    categories = {(cell.columns["dataset"], cell.cell.category) for cell in plan.cells.values()}
    assert Counter(dataset for dataset, _ in categories) == CATEGORIES
    assert categories == {(name, each) for name in CATEGORIES for each in dataset_of(name).categories}
    assert len(plan.of(ShardStage)) == 23


def test_the_figures_ask_only_for_what_the_sweep_does_not_make(plan: Plan) -> None:
    asked = {name: len(fingerprints) for name, fingerprints in plan.cells_of.items()}
    one_shot = {"fig5_1shot": 15 * 3, "fig6": 3 * 3, "fig7": 5 * 3}
    more_shots = {"fig5_5shot": 15 * 3, "fig5_full": 15 * 3}
    sweep = {f"sweep_{name}": count * (POINTS + BASELINES) for name, count in CATEGORIES.items()}
    assert asked == {**sweep, **one_shot, **more_shots}
    assert len(plan.cells) == sum(sweep.values()) + sum(more_shots.values())
    swept = {f for name in sweep for f in plan.cells_of[name]}
    for name in one_shot:
        assert {*plan.cells_of[name]} < swept


def test_a_support_has_one_training_for_each_weight_and_one_ranking(plan: Plan) -> None:
    assert len(plan.of(TrainingStage)) == 23 * 2 + 15 * 2
    assert len(plan.of(PromptStage)) == 23 + 15 * 2
    by_category = Counter((stage.category, len(stage.support.ids)) for stage in plan.of(TrainingStage))
    assert {by_category[name, 1] for name, _ in by_category} == {2}
    assert {by_category[name, shots] for name in dataset_of("mvtec_ad").categories for shots in (5, 6)} == {1}


@dataclass(frozen=True)
class Ran:
    """All studies, run."""

    plan: Plan
    run: Run
    options: Options


@pytest.fixture(scope="module")
def ran(roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """One run of all four experiments: minutes on two cores, hence ``slow``."""
    options = Options(str(tmp_path_factory.mktemp("all_out")), cpus=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        plan, run = run_studies(scaled(roots), options, Console(quiet=True))
    return Ran(plan, run, options)


@pytest.mark.slow
def test_nothing_is_made_twice(ran: Ran) -> None:
    assert (ran.run.failed, ran.run.cells) == (0, len(ran.plan.cells))
    assert ran.run.executed == {
        "shard": 23,
        "prompt": 23 + 15 * 2,
        "generator": 23 * 2 + 15 * 2,
        "detection": len(ran.plan.cells),
    }
    again = run_studies([*_studies(ran)], ran.options, Console(quiet=True))[1]
    assert (again.stages, again.reused) == (0, len(ran.plan.cells))


@pytest.mark.slow
def test_each_dataset_has_its_metrics(ran: Ran) -> None:
    results = Results(ran.options.out)
    rows = results.rows()
    assert rows.keys() == ran.plan.cells.keys()
    assert all(row[metric] is not None for row in rows.values() for metric in ("image_auroc", "pixel_auroc", "aupro"))
    subsets: dict[str, set[str]] = {name: set() for name in CATEGORIES}
    spro: Counter[str] = Counter()
    for line in results.read("metrics").to_pylist():
        dataset = rows[line["fingerprint"]]["dataset"]
        subsets[dataset].add(line["subset"])
        spro[dataset] += line["metric"] == "au_spro_0.05" and line["subset"] == "all"
    own = {name: found - {"all", "image_set/all"} for name, found in subsets.items()}
    assert own == {
        "mvtec_ad": {"broken", "scratch"},
        "mvtec_loco": {"logical_anomalies", "structural_anomalies", "mean"},
        "btad": {"ko"},
    }
    assert spro == {"mvtec_loco": 5 * (POINTS + BASELINES), "mvtec_ad": 0, "btad": 0}


@pytest.mark.slow
def test_the_rows_agree_with_their_scores(ran: Ran) -> None:
    assert list(verify(Results(ran.options.out_uri), Store(ran.options.store_uri))) == []


def _studies(ran: Ran) -> Iterator[Study]:
    from goodshot.runner.results.record import read_records

    yield from (record.study for record in read_records(Results(ran.options.out)))
