"""What a study may choose by: planted defects without any test image, a test metric only where every row says so."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from runner.stages.stages import detect

from runner.cli import main
from runner.named import load_study
from runner.plan.plan import Plan
from runner.results.results import Results
from runner.run.execute import plan_studies
from runner.run.options import Options
from runner.stages.shard import make_shards, read_support, read_test
from runner.store.artifacts import Store
from runner.study.study import Study

PLANTED = {"arms": ["original"], "objective": "planted", "planted": {"normals": 4}}


def plan_of(study: Study, out: Path) -> Plan:
    return plan_studies([study], Options(str(out)))


def run(study: Study, out: Path) -> Results:
    """All cells of a study without generated arms, in this process."""
    plan, store, results = plan_of(study, out), Store(str(out / "store")), Results(str(out))
    for category in plan.categories.values():
        make_shards(category.samples, category.shard, store)
    for planned in plan.cells.values():
        shard, size = planned.support.shard, planned.cell.detector.image_size
        originals = read_support(planned.support, store)
        detect(planned, originals, read_test(store, shard, size), store, results, "cpu")
    return results


def planted(results: Results) -> float:
    (row,) = results.rows().values()
    value: float = row["planted"]
    return value


def test_no_test_image_and_no_label_takes_part(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    original = tiny_study(**PLANTED)
    root = tmp_path / "swapped"
    shutil.copytree(str(original.dataset.root), root)
    swap(root / "coin/test")
    swapped = tiny_study(**PLANTED, dataset={"name": "demo", "root": str(root)})
    one, other = run(original, tmp_path / "one"), run(swapped, tmp_path / "other")
    assert 0.5 < planted(one) < 1
    assert planted(one) == planted(other)
    aurocs = [next(iter(results.rows().values()))["image_auroc"] for results in (one, other)]
    assert aurocs[0] != aurocs[1]


def swap(test: Path) -> None:
    """Good and stained test images change places, so that most labels are wrong."""
    for good, stained in zip(sorted((test / "good").iterdir()), sorted((test / "stain").iterdir()), strict=False):
        one, other = Image.open(good).copy(), Image.open(stained).copy()
        one.save(stained)
        other.save(good)


def test_the_normal_images_are_training_ones_outside_the_support(
    tiny_study: Callable[..., Study], tmp_path: Path
) -> None:
    plan = plan_of(tiny_study(**PLANTED, support_seeds=[0, 1], shots=3), tmp_path)
    (category,) = plan.categories.values()
    for cell in plan.cells.values():
        assert cell.planted is not None
        assert len(cell.planted.ids) == 4
        assert set(cell.planted.ids) < set(category.train_ids) - set(cell.support.ids)


def test_where_all_are_in_the_support_views_of_it_stand_in(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    study = tiny_study(**PLANTED, shots="full")
    assert next(iter(plan_of(study, tmp_path).cells.values())).planted.ids == ()  # type: ignore[union-attr]
    assert 0.5 < planted(run(study, tmp_path)) <= 1


def test_the_long_table_holds_every_metric_of_the_planted_set(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    results = run(tiny_study(**PLANTED), tmp_path)
    values = {(v["subset"], v["metric"]): v["value"] for v in results.read("metrics").to_pylist()}
    assert values["planted", "image_auroc"] == planted(results)
    for kind in ("scratch", "stain", "foreign", "missing"):
        assert np.isfinite(values[f"planted/{kind}", "aupro"])
    assert np.isfinite(values["all", "image_auroc"])


def test_the_planted_set_is_part_of_a_cells_identity(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    studies: list[dict[str, Any]] = [{"arms": ["original"]}, PLANTED, {**PLANTED, "planted": {"normals": 5}}]
    cells = [set(plan_of(tiny_study(**fields), tmp_path).cells) for fields in studies]
    assert len(set.union(*cells)) == 3


@pytest.mark.parametrize("metric", ["image_auroc", "pixel_auroc", "aupro"])
def test_a_test_metric_needs_oracle(metric: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["sweep", "demo", "--set", f"objective={metric}", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert f"objective: {metric} uses test labels; choose similarity or planted, or give --oracle" in error
    assert not out.exists()
    assert load_study("demo", [f"objective={metric}", "oracle=true"]).objective == metric


def test_every_row_of_an_oracle_study_is_marked_and_its_own(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    fair = plan_of(tiny_study(), tmp_path)
    oracle = plan_of(tiny_study(objective="image_auroc", oracle=True), tmp_path)
    assert {p.columns["oracle"] for p in oracle.cells.values()} == {True}
    assert {p.columns["oracle"] for p in fair.cells.values()} == {False}
    assert not set(fair.cells) & set(oracle.cells)
    assert {g.key for g in fair.generators.values()} == {g.key for g in oracle.generators.values()}


def test_development_categories_are_marked(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    plan = plan_of(tiny_study(dev=["coin"], categories=["coin", "brick"], arms=["original"]), tmp_path)
    assert {p.cell.category: p.columns["dev"] for p in plan.cells.values()} == {"coin": True, "brick": False}
