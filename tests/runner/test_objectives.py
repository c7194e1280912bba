"""What a study may choose by: planted defects without any test image, a test metric only where every row says so."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from goodshot.components.errors import BadInput
from goodshot.runner.cells.detection import DetectionStage
from goodshot.runner.cli import main
from goodshot.runner.executor.local import LocalExecutor
from goodshot.runner.named import load_study
from goodshot.runner.plan.plan import Plan
from goodshot.runner.report import write_report
from goodshot.runner.results.results import Results
from goodshot.runner.results.trials import Ledger
from goodshot.runner.run.execute import plan_studies, run_studies
from goodshot.runner.run.options import Options
from goodshot.runner.stages.shard import ShardStage
from goodshot.runner.stages.training import TrainingStage
from goodshot.runner.store.artifacts import Store
from goodshot.runner.study.study import Study

PLANTED = {"arms": ["original"], "objective": "planted", "planted": {"normals": 4}}


def plan_of(study: Study, out: Path) -> Plan:
    return plan_studies([study], Options(str(out)))


def run(study: Study, out: Path) -> Results:
    """All cells of a study, in this process."""
    plan, results = plan_of(study, out), Results(str(out))
    LocalExecutor(plan, Store(str(out / "store")), results).run(list(plan.cells))
    assert not results.tries()
    return results


def detections(plan: Plan) -> list[DetectionStage]:
    return [cell for cell in plan.cells.values() if isinstance(cell, DetectionStage)]


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
    (shard,) = plan.of(ShardStage)
    training = {sample.image_id for sample in shard.samples if sample.split == "train"}
    cells = detections(plan)
    assert len(cells) == 2
    for cell in cells:
        assert cell.planted is not None
        assert len(cell.planted.ids) == 4
        assert set(cell.planted.ids) < training - set(cell.support.ids)


def test_where_all_are_in_the_support_views_of_it_stand_in(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    study = tiny_study(**PLANTED, shots="full")
    (cell,) = detections(plan_of(study, tmp_path))
    assert cell.planted is not None
    assert cell.planted.ids == ()
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
    trainings = [{stage.key for stage in plan.of(TrainingStage)} for plan in (fair, oracle)]
    assert len(trainings[0]) == 1
    assert trainings[0] == trainings[1]


def test_development_categories_are_marked(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    plan = plan_of(tiny_study(dev=["coin"], categories=["coin", "brick"], arms=["original"]), tmp_path)
    assert {p.cell.category: p.columns["dev"] for p in plan.cells.values()} == {"coin": True, "brick": False}


@pytest.mark.parametrize(
    ("space", "arm"),
    [
        ({}, "generated"),
        ({"post_augment": ["none", "strong"]}, "generated"),
        ({"vqgan_clip.learning_rate": [0.1, 0.2]}, "vqgan_clip"),
        ({"vqgan_clip.learning_rate": [0.1, 0.2], "vqgan_clip.cutouts": [2, 4]}, "vqgan_clip"),
        # Both arms have a prompt of this kind; of arms that are changed alike the first is judged.
        ({"prompt_kind": ["best", "naive"]}, "generated"),
        ({"vqgan_clip.cutouts": [2, 4], "prompt_kind": ["best", "naive"]}, "vqgan_clip"),
    ],
    ids=str,
)
def test_a_point_is_judged_by_the_arm_that_the_searched_fields_change(
    space: dict[str, Any], arm: str, tiny_study: Callable[..., Study]
) -> None:
    study = tiny_study(arms=["original", "vqgan_clip", "generated"], search={"space": space})
    assert study.judged_arm.label == arm


def test_a_baseline_is_judged_only_where_there_is_no_other_arm(tiny_study: Callable[..., Study]) -> None:
    fields = {"objective": "planted", "search": {"space": {"detectors.0.image_size": [64, 96]}}}
    assert tiny_study(arms=["original"], **fields).judged_arm.label == "original"
    assert tiny_study(arms=["original", "external:web"], **fields).judged_arm.label == "external:web"


def test_a_search_over_vqgan_clip_is_judged_by_its_cells(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    """Those of the generated arm, which such a search changes nothing of, would make all points equal."""
    study = tiny_study(
        arms=["generated", "vqgan_clip"],
        copies=[1],
        iterations=[2],
        vqgan_clip={"iterations": 1, "cutouts": 2},
        search={"space": {"vqgan_clip.iterations": [1, 3]}},
    )
    options = Options(str(tmp_path / "out"), local=True)
    run_studies([study], options, Console(quiet=True))
    results = Results(options.out)
    rows = results.rows()
    records = Ledger(results, study).read()
    assert [record.values["vqgan_clip.iterations"] for record in records] == [1, 3]
    for record in records:
        (report,) = record.reports
        found = {rows[f]["arm"]: rows[f]["similarity"] for f in report.fingerprints}
        assert found.keys() == {"generated", "vqgan_clip"}
        assert report.value == found["vqgan_clip"]
    assert records[0].reports[0].value != records[1].reports[0].value
    write_report(options)
    assert "the mean over 1 vqgan_clip cell" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arms", "space"),
    [
        (["generated"], {"vqgan_clip.cutouts": [2, 4]}),
        (["vqgan_clip"], {"select": ["text", "last"]}),
        # No arm is changed by both.
        (["generated", "vqgan_clip"], {"vqgan_clip.cutouts": [2, 4], "select": ["text", "last"]}),
    ],
    ids=str,
)
def test_similarity_is_refused_where_the_judged_arm_does_not_change(
    arms: list[str], space: dict[str, Any], tiny_study: Callable[..., Study]
) -> None:
    with pytest.raises(
        BadInput, match=r"search\.space\.(vqgan_clip\.cutouts|select): the cells of arm \w+, by which points are judged"
    ):
        tiny_study(arms=arms, search={"space": space})
