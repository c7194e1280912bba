"""``goodshot plan``: counts of what is wanted, shared and done, and prices from what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from goodshot.runner.cli import main
from goodshot.runner.plan.plan import Plan
from goodshot.runner.plan.pricing import StagePrice, price, wall_hours
from goodshot.runner.plan.scheduling import Shares
from goodshot.runner.run.execute import plan_studies, run_studies
from goodshot.runner.run.options import Options
from goodshot.runner.stages.costs import Cost, read_costs, remember_costs
from goodshot.runner.stages.image_set import ImageSetStage
from goodshot.runner.store.artifacts import Store
from goodshot.runner.study.settings import read_study
from goodshot.runner.study.study import Study
from tests.conftest import TINY

SWEEP = {"vq_weight": [0.5, 1.0], "copies": [2, 3], "iterations": [4, 8]}


@pytest.fixture(autouse=True)
def _costs_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOODSHOT_CACHE", str(tmp_path / "cache"))


def measured(plan: Plan, device: str = "cpu") -> dict[str, Cost]:
    """A second for a unit of everything."""
    image_sets = plan.of(ImageSetStage)
    stages = [*plan.stages.values(), *plan.cells.values()]
    works = [work for stage in stages for work in stage.work(image_sets, device)]
    return {work.kind: Cost(10.0, 10.0) for work in works}


def by_kind(prices: list[StagePrice]) -> dict[str, StagePrice]:
    return {each.kind: each for each in prices}


def test_stages_are_counted_and_priced(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    plan = plan_studies([tiny_study(**SWEEP, resources={"detector_cpus": 2})], Options(str(tmp_path / "out")))
    store = Store(str(tmp_path / "store"))
    found = by_kind(price(plan, store, set(), Shares([]), measured(plan)))
    assert {kind: (each.wanted, each.asked, each.remaining) for kind, each in found.items()} == {
        "shard": (1, 11, 1),
        "prompt": (1, 8, 1),
        "generator": (2, 8, 2),
        "image set": (8, 8, 8),
        "detection": (11, 11, 11),
    }
    # Per λ: 7 updates, and 3 samples of each of 4 scored iterations.
    assert found["generator"].cpu_hours == pytest.approx(2 * (7 + 4 * 3) / 3600)
    # Original, augmented ×2 and generated ×8, of 1 original and 28 test images, on two CPUs each.
    images = 1 + (1 + 2) + (1 + 3) + 4 * ((1 + 2) + (1 + 3))
    assert found["detection"].cpu_hours == pytest.approx(2 * (images + 11 * 28) / 3600)
    assert found["prompt"].cpu_hours == pytest.approx(1 / 3600)
    assert found["image set"].disk == 4 * (2 + 3) * 32 * 32 * 3
    total = sum(each.cpu_hours or 0 for each in found.values())
    assert wall_hours(found.values(), 4, 0) == pytest.approx(total / 4)
    unknown = by_kind(price(plan, store, set(), Shares([]), {}))
    assert unknown["generator"].cpu_hours is unknown["detection"].cpu_hours is None
    assert wall_hours(unknown.values(), 4, 0) is None


def test_finished_cells_cost_nothing_even_without_their_store(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    plan, store = plan_studies([tiny_study(**SWEEP)], Options(str(tmp_path / "out"))), Store(str(tmp_path / "store"))
    found = price(plan, store, {*plan.cells}, Shares([]), measured(plan))
    assert {each.kind: each.remaining for each in found} == dict.fromkeys((each.kind for each in found), 0)
    assert sum(each.disk for each in found) == 0
    # One cell of the shorter training is missing: its stages come back, and no other.
    (missing,) = [f for f, cell in plan.cells.items() if "vq_weight=0.5 copies=2 iterations=4" in cell.cell.label]
    found = price(plan, store, {*plan.cells} - {missing}, Shares([]), measured(plan))
    assert {each.kind: each.remaining for each in found} == dict.fromkeys((each.kind for each in found), 1)


def test_hours_of_gpus_are_priced_and_need_one(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    study = tiny_study(**SWEEP, resources={"generator_gpus": 0.5})
    plan, store = plan_studies([study], Options(str(tmp_path / "out"))), Store(str(tmp_path / "store"))
    prices = price(plan, store, set(), Shares([]), measured(plan) | measured(plan, "cuda"))
    generator = by_kind(prices)["generator"]
    assert generator.gpu_hours == pytest.approx(2 * (7 + 4 * 3) / 2 / 3600)
    assert wall_hours(prices, 4, 0) == math.inf
    assert wall_hours(prices, 1000, 1) == generator.gpu_hours


def test_processes_that_train_together_take_hours_each(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    study = tiny_study(**SWEEP, shots=2, resources={"generator_workers": 2})
    plan, store = plan_studies([study], Options(str(tmp_path / "out"))), Store(str(tmp_path / "store"))
    found = by_kind(price(plan, store, set(), Shares([]), measured(plan)))
    # Two workers, and the process that samples.
    assert found["generator"].cpu_hours == pytest.approx(3 * 2 * (7 + 4 * 3) / 3600)


def test_the_other_kinds_of_image_sets_are_priced(
    tiny_study: Callable[..., Study], photographs: Path, tmp_path: Path
) -> None:
    arms = [f"external:{photographs / 'coin/train/good'}", "vqgan_clip"]
    study = tiny_study(arms=arms, vqgan_clip={"iterations": 3}, copies=[2, 3])
    plan, store = plan_studies([study], Options(str(tmp_path / "out"))), Store(str(tmp_path / "store"))
    found = by_kind(price(plan, store, set(), Shares([]), measured(plan)))
    assert (found["external set"].wanted, found["external set"].asked, found["external set"].cpu_hours) == (2, 2, 0)
    assert (found["VQGAN-CLIP set"].wanted, found["VQGAN-CLIP set"].asked) == (2, 2)
    assert found["VQGAN-CLIP set"].cpu_hours == pytest.approx((2 + 3) * 3 / 3600)
    unknown = by_kind(price(plan, store, set(), Shares([]), {}))
    assert unknown["VQGAN-CLIP set"].cpu_hours is None


def test_the_command_counts_what_is_done_and_learns_what_it_takes(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    study, out = tmp_path / "study.yaml", tmp_path / "out"
    study.write_text(yaml.safe_dump({**TINY, "dataset": {"name": "demo", "root": str(photographs)}}))
    assert main(["plan", str(study), "--out", str(out)]) == 0
    before = capsys.readouterr().out
    assert "3 cells: 0 finished, 3 left" in before
    assert "not measured" in before
    assert "run one support first" in before
    assert not out.exists()
    run_studies([read_study(str(study))], Options(str(out), local=True), Console(quiet=True))
    assert main(["plan", str(study), "--out", str(out), "--set", "iterations=[4,8]", "--cpus", "2", "--gpus", "0"]) == 0
    after = " ".join(capsys.readouterr().out.split())
    assert "4 cells: 3 finished, 1 left" in after
    assert "generator 1 2 0 1" in after
    assert "not measured" not in after
    assert "on 2 CPUs, from what such stages have taken on this machine" in after
    assert main(["plan", str(study), "--out", str(out)]) == 0
    assert "nothing is left to run" in capsys.readouterr().out


def test_costs_are_remembered_and_older_ones_fade(tmp_path: Path) -> None:
    kind = "score|patchcore-lite0|256|cpu"
    assert read_costs() == {}
    for seconds in (8.0, 2.0):
        remember_costs({kind: Cost(seconds, 2.0)})
    assert read_costs() == {kind: Cost(6.0, 3.0)}
    assert read_costs()[kind].each == 2.0
    (tmp_path / "cache" / "costs.json").write_text('{"x": 3}')
    assert read_costs() == {}
