"""Studies of defective images through the whole house: planned, shared, measured, verified, reported."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from rich.console import Console

from goodshot.components.errors import BadInput
from goodshot.components.fusion.base import base_bytes, new_base
from goodshot.components.fusion.config import BaseConfig
from goodshot.runner.cells.segmentation import SegmentationStage
from goodshot.runner.cli import main
from goodshot.runner.plan.plan import Plan, planned_steps, unshared_steps
from goodshot.runner.report.context import read_studies
from goodshot.runner.report.sections.made_defects import made_defects
from goodshot.runner.results.results import Results
from goodshot.runner.run.execute import declare, plan_studies, print_notes, run_studies
from goodshot.runner.run.options import Options, Run
from goodshot.runner.stages import continued
from goodshot.runner.stages.base import Context, NodeLeaves, load_value
from goodshot.runner.stages.defect_set import DefectSetStage
from goodshot.runner.stages.fusion import DiffusionBaseStage, FusionSetStage, FusionStage, MaskEncoderStage
from goodshot.runner.store.artifacts import Store
from goodshot.runner.study.settings import validate
from goodshot.runner.study.study import Study
from tests.conftest import TINY
from tests.data.conftest import shared

__all__ = ["shared"]

SYNTHESIS: dict[str, Any] = {
    "side": 32,
    "fusion": {
        "resolution": 32, "steps": 6, "batch": 2, "masks": {"steps": 4, "batch": 4},
        "small": {"steps": 6, "batch": 2, "channels": [16, 32], "attention_levels": 1}, "sampling": {"steps": 2},
    },
    "segmenter": {"resolution": 64, "steps": 4, "batch": 4, "validate_every": 2},
    "classifier": {"resolution": 64, "steps": 2, "batch": 4, "validate_every": 1},
}  # fmt: skip
Kill = Callable[[Study, Path, str, int], None]
ARMS = ["real_defects", "crop_paste", "cutpaste", "draem_skimage", "fusion", "fusion:none"]


FIELDS: dict[str, Any] = {
    **TINY, "name": "defects", "shots": "full", "arms": ARMS, "cells": ["segmentation"], "copies": [3],
    "synthesis": SYNTHESIS,
}  # fmt: skip


@pytest.fixture
def defects(photographs: Path) -> Callable[..., Study]:
    """A study of the demo's coin, whose synthetic defects are learned and tested."""
    return partial(declared, photographs)


def declared(photographs: Path, **fields: Any) -> Study:
    return validate({**FIELDS, "dataset": {"name": "demo", "root": str(photographs)}, **fields}, "defects")


@dataclass(frozen=True)
class Finished:
    """A study that has run, with every kind of cell that one arm alone has."""

    study: Study
    out: Path
    plan: Plan

    def rows(self, kind: str) -> dict[str, Any]:
        return {row["arm"]: row for row in Results(str(self.out)).rows().values() if row["cell"] == kind}


@pytest.fixture(scope="module")
def finished(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    study, out = (
        declared(photographs, cells=["defect_images", "segmentation", "classification"]),
        Path(tmp_path_factory.mktemp("finished")),
    )
    plan, done = run(study, out)
    assert (done.failed, len(plan.cells)) == (0, 3 + 6 + 4)
    return Finished(study, out, plan)


def run(study: Study, out: Path) -> tuple[Plan, Run]:
    return run_studies([study], Options(str(out), local=True), Console(file=io.StringIO()))


def test_every_kind_of_cell_has_its_rows(finished: Finished) -> None:
    segmented, named, measured = map(finished.rows, ("segmentation", "classification", "defect_images"))
    assert set(segmented) == set(ARMS)
    assert set(named) == {"real_defects", "crop_paste", "fusion", "fusion:none"}
    assert set(measured) == {"crop_paste", "fusion", "fusion:none"}
    for row in segmented.values():
        assert 0 <= row["pixel_ap"] <= 1
        assert 0 <= row["image_auroc"] <= 1
    for row in named.values():
        assert 0 <= row["defect_accuracy_lite0"] <= 1
        assert row["defect_accuracy"] is None
    for row in measured.values():
        # Blended denoising leaves the background as it is, and so does pasting.
        assert row["background_difference"] == 0
        assert row["is_lite0"] >= 1
        assert row["images_made"] == 3 * 4
    assert segmented["fusion:none"]["modules"] == "none"
    assert segmented["fusion"]["defects_seen"] == segmented["crop_paste"]["defects_seen"]


def test_its_rows_are_sound_and_its_report_is_whole(finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(finished.out)]) == 0
    assert main(["report", str(finished.out)]) == 0
    page = (finished.out / "report.html").read_text()
    assert "defect classification" in page
    for words in ("Weights of the fusion", "background lpips_lite0", "ic_lpips_lite0 by kind of defect"):
        assert words in page
    assert "accuracy of types (lite0) by kind of defect" in page
    # Fig. 4 and 5: the site on the good image, and what each arm made there, with its caption.
    for words in ("the kind of defect, and where it is to be", "made on a good coin: coin with stain", "fusion:none"):
        assert words in page
    (study,) = read_studies(Options(str(finished.out)))
    shown = {made.label.split(" ")[0]: made.shown for made in made_defects(study)}
    assert shown.keys() == {"crop_paste", "cutpaste", "draem_skimage", "fusion", "fusion:none"}
    np.testing.assert_array_equal(shown["fusion"].masks, shown["fusion:none"].masks)
    assert "no artifact" not in page
    _, again = run(finished.study, finished.out)
    assert again.stages == 0
    capsys.readouterr()


def test_nothing_that_is_tested_was_learned(finished: Finished) -> None:
    (training, _) = finished.plan.of(FusionStage)
    (kept,) = {
        cell.split.validation.ids for cell in finished.plan.cells.values() if isinstance(cell, SegmentationStage)
    }
    learned = {*training.defects.ids, *kept}
    assert learned
    tested = {score["image_id"] for score in Results(str(finished.out)).read("scores").to_pylist()}
    assert not learned & tested
    assert not {*training.defects.ids} & {*kept}
    for stage in finished.plan.of(DefectSetStage):
        assert stage.defects == training.defects


def test_one_training_serves_every_number_of_images_and_every_cell(
    defects: Callable[..., Study], tmp_path: Path
) -> None:
    wide = {"arms": ["fusion"], "cells": ["defect_images", "segmentation", "classification"]}
    small = plan_studies([defects(**wide, copies=[20])], Options(str(tmp_path)))
    both = plan_studies([defects(**wide, copies=[20, 30], support_seeds=[0, 1])], Options(str(tmp_path)))
    assert [len(both.of(kind)) for kind in (MaskEncoderStage, DiffusionBaseStage, FusionStage)] == [1, 1, 2]
    # 80 images are in two parts, and 120 in three, of which the first is the same.
    assert len(small.of(DefectSetStage)) == 2
    assert len(both.of(DefectSetStage)) == 2 * (3 + 1)
    assert {stage.key for stage in small.of(DefectSetStage)} < {stage.key for stage in both.of(DefectSetStage)}
    assert planned_steps(both, both.cells.values()) == 6 + 2 * 6
    assert unshared_steps(both, both.cells.values()) == 4 * (6 + 6)


def test_studies_that_sample_differently_share_the_training_alone(
    defects: Callable[..., Study], tmp_path: Path
) -> None:
    fusion = {**SYNTHESIS["fusion"], "sampling": {"steps": 3}}
    longer = {**SYNTHESIS, "fusion": fusion}
    plan = plan_studies([defects(arms=["fusion"]), defects(arms=["fusion"], synthesis=longer)], Options(str(tmp_path)))
    assert [len(plan.of(kind)) for kind in (FusionStage, DefectSetStage)] == [1, 2]
    assert {stage.sampling.steps for stage in plan.of(FusionSetStage)} == {2, 3}


def test_a_type_that_one_category_alone_has_can_be_left_out(
    defects: Callable[..., Study], photographs: Path, tmp_path: Path
) -> None:
    for category in ("coin", "gravel"):
        shutil.copytree(photographs / category, tmp_path / "data" / category)
    for part in ("test", "ground_truth"):
        (tmp_path / "data" / "gravel" / part / "stain").rename(tmp_path / "data" / "gravel" / part / "moss")
    study = defects(
        dataset={"name": "mvtec_ad", "root": str(tmp_path / "data")}, categories=["coin", "gravel"],
        arms=["crop_paste"], synthesis={**SYNTHESIS, "leave_out": ["moss"]},
    )  # fmt: skip
    plan = plan_studies([study], Options(str(tmp_path / "out")))
    learned = {cell.cell.category: set(cell.split.fit.kinds) for cell in plan.cells.values()}
    assert learned["coin"] - learned["gravel"] == {"stain"}
    assert "moss" not in learned["gravel"]


def test_fewer_images_are_the_first_of_more(defects: Callable[..., Study], finished: Finished, tmp_path: Path) -> None:
    few, _ = run(defects(arms=["crop_paste", "fusion"], copies=[1]), tmp_path)
    images: dict[Path, dict[str, np.ndarray]] = {}
    for out, plan in ((tmp_path, few), (finished.out, finished.plan)):
        store = Store(Options(str(out)).store_uri)
        parts = {cell.cell.arm.name: cell.added.parts for cell in plan.cells.values()}
        images[out] = {
            a: store.get(parts[a][0]).arrays("images.safetensors")["images"] for a in ("crop_paste", "fusion")
        }
    for arm, own in images[tmp_path].items():
        assert len(images[finished.out][arm]) == 3 * len(own)
        np.testing.assert_array_equal(own, images[finished.out][arm][: len(own)])


def test_a_set_of_several_parts_is_read_as_one(defects: Callable[..., Study], tmp_path: Path) -> None:
    plan, done = run(defects(arms=["crop_paste"], copies=[20]), tmp_path)
    assert (done.failed, len(plan.of(DefectSetStage))) == (0, 2)
    (row,) = Results(str(tmp_path)).rows().values()
    assert row["images_made"] == 20 * 4


class Killed(BaseException):
    """What ends a run as a signal would."""


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Kill:
    """Runs a study until so many checkpoints below a prefix are written; every report of progress writes one."""

    def call(study: Study, out: Path, below: str, count: int) -> None:
        put, checkpoints = Store.put, []

        def put_and_die(store: Store, key: str, files: Any, info: Any) -> Any:
            made = put(store, key, files, info)
            if key.startswith(below) and "checkpoint-" in key:
                checkpoints.append(key)
                if len(checkpoints) == count:
                    raise Killed
            return made

        with monkeypatch.context() as patch:
            patch.setattr(Store, "put", put_and_die)
            with pytest.raises(Killed):
                run(study, out)

    monkeypatch.setattr(continued, "SAVE_SECONDS", 0.0)
    return call


def assert_continued_exactly(key: str, undisturbed: Path, killed: Path) -> None:
    """A killed training ends with the weights of the one that nothing disturbed, and keeps no checkpoint."""
    stores = [Store(Options(str(place)).store_uri) for place in (undisturbed, killed)]
    states = [store.get(key).read("state.safetensors") for store in stores]
    assert states[0] == states[1]
    assert stores[1].parts(key) == []


def test_a_killed_training_continues_from_its_checkpoint(
    defects: Callable[..., Study], finished: Finished, killed: Kill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = defects(arms=["fusion"])
    monkeypatch.setattr(continued, "CHUNK", 2)
    killed(study, tmp_path, "fusion/", 2)
    _, done = run(study, tmp_path)
    assert done.failed == 0
    # Four of six steps were in the checkpoint, which is not kept.
    (steps,) = [n for id_, n in done.generator_steps.items() if id_.startswith("fusion/")]
    assert steps == 2
    (training, _) = finished.plan.of(FusionStage)
    assert_continued_exactly(training.key, finished.out, tmp_path)
    (row,) = Results(str(tmp_path)).rows().values()
    assert row["pixel_ap"] == finished.rows("segmentation")["fusion"]["pixel_ap"]


def test_a_killed_mask_autoencoder_continues_from_its_checkpoint(
    defects: Callable[..., Study], finished: Finished, killed: Kill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = defects(arms=["fusion"])
    monkeypatch.setattr(continued, "CHUNK", 1)
    killed(study, tmp_path, "mask_encoder/", 2)
    _, done = run(study, tmp_path)
    assert done.failed == 0
    (stage,) = finished.plan.of(MaskEncoderStage)
    assert_continued_exactly(stage.key, finished.out, tmp_path)


def test_a_training_whose_node_leaves_saves_what_it_has_made(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stage,) = finished.plan.of(MaskEncoderStage)
    monkeypatch.setattr(continued, "CHUNK", 1)
    whole, store = Store(Options(str(finished.out)).store_uri), Store(str(tmp_path))
    context = Context(store, partial(load_value, store=whole), leaving=lambda: True)
    with pytest.raises(NodeLeaves, match="saved after 1 steps"):
        stage.run(context, [stage])
    context.leaving = lambda: False
    stage.run(context, [stage])
    assert store.get(stage.key).read("state.safetensors") == whole.get(stage.key).read("state.safetensors")


@pytest.mark.parametrize(
    ("cell", "below", "metric"),
    [("segmentation", "segmenter/", "pixel_ap"), ("classification", "cell/", "defect_accuracy_lite0")],
)
def test_what_is_trained_on_made_images_continues_too(
    cell: str, below: str, metric: str, defects: Callable[..., Study], finished: Finished, killed: Kill,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    study = defects(arms=["crop_paste"], cells=[cell])
    monkeypatch.setattr(continued, "CHUNK", 1)
    killed(study, tmp_path, below, 1)
    store = tmp_path / "store" / below
    assert [*store.rglob("checkpoint-*")]
    _, done = run(study, tmp_path)
    assert done.failed == 0
    assert not [*store.rglob("checkpoint-*")]
    (row,) = Results(str(tmp_path)).rows().values()
    assert row[metric] == finished.rows(cell)["crop_paste"][metric]


def test_both_systems_side_by_side_and_as_one(defects: Callable[..., Study], tmp_path: Path) -> None:
    study = defects(arms=["original", "generated", "crop_paste"], cells=["both"])
    plan, done = run(study, tmp_path)
    assert (done.failed, len(plan.cells)) == (0, 2)
    rows = sorted(Results(str(tmp_path)).rows().values(), key=lambda row: row["detector"])
    assert [row["detector"] for row in rows] == [
        "patchcore-lite0", "patchcore-lite0 on generated vq_weight=1 copies=3 iterations=4",
    ]  # fmt: skip
    for row in rows:
        assert 0 <= row["weight_image"] <= 1
        for metric in ("image_auroc", "image_auroc_detector", "image_auroc_segmenter", "pixel_ap_segmenter"):
            assert 0 <= row[metric] <= 1
    # The segmenter is the same and trained once, the detector is not.
    assert done.executed["segmenter"] == 1
    assert rows[0]["image_auroc_segmenter"] == rows[1]["image_auroc_segmenter"]
    assert main(["verify", str(tmp_path)]) == 0
    assert main(["report", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "image AUROC, segmenter alone" in page
    # The two systems are no kinds of defect.
    assert "detector/all" not in page


def test_a_detector_never_sees_defects_and_a_segmenter_no_good_images(defects: Callable[..., Study]) -> None:
    study = defects(arms=["original", "augmented", "crop_paste"], cells=["detection", "segmentation"])
    wanted = {(cell.kind.name, cell.arm.name) for cell in study.expanded(("coin",))}
    assert wanted == {("detection", "original"), ("detection", "augmented"), ("segmentation", "crop_paste")}
    with pytest.raises(BadInput, match="fusion adds images that no kind of cell of the study measures"):
        defects(arms=["original", "fusion"], cells=["detection"])
    with pytest.raises(BadInput, match=r"fusion:colour: the parts of a fusion are one of none, text"):
        defects(arms=["fusion:colour"])


@pytest.mark.parametrize(
    ("synthesis", "line"),
    [
        ({"captions": "/no/such/folder"}, "/no/such/folder: no such folder"),
        (
            {"leave_out": ["foreign", "missing", "stain"]},
            "cells: classification has none in this study; of coin, its only defect type is",
        ),
        ({"leave_out": ["colour"]}, "synthesis.leave_out: no category has a defect type colour; there are:"),
        ({"fusion": {**SYNTHESIS["fusion"], "base": "path:/no/such/base", "trains": "embeddings"}}, "no such file"),
    ],
)
def test_a_mistake_is_one_line_before_anything_runs(
    synthesis: dict[str, Any], line: str, defects: Callable[..., Study], tmp_path: Path
) -> None:
    cells = ["segmentation", "classification"]
    study = defects(arms=["fusion"], cells=cells, synthesis={**SYNTHESIS, **synthesis})
    with pytest.raises(BadInput, match=line.replace("(", r"\(")):
        run(study, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_base_of_another_architecture_is_one_line_before_anything_runs(
    defects: Callable[..., Study], tmp_path: Path
) -> None:
    base = tmp_path / "base.safetensors"
    other = BaseConfig(channels=(24, 32), attention_levels=1)
    base.write_bytes(base_bytes(new_base(32, BaseConfig(channels=(16, 32), attention_levels=1), 0), other))
    fusion = {**SYNTHESIS["fusion"], "base": f"path:{base}", "trains": "embeddings"}
    study = defects(arms=["fusion"], synthesis={**SYNTHESIS, "fusion": fusion})
    with pytest.raises(BadInput, match=r"base\.safetensors: another architecture: .* has shape \[16, .* wants \[24, "):
        run(study, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_on_ray_as_in_this_process(defects: Callable[..., Study], tmp_path: Path) -> None:
    study = defects(cells=["defect_images", "segmentation"], arms=["crop_paste", "fusion"], support_seeds=[0, 1])
    run(study, tmp_path / "here")
    _, done = run_studies([study], Options(str(tmp_path / "ray"), cpus=2), Console(file=io.StringIO()))
    assert done.failed == 0
    assert done.executed["fusion"] == 2
    ours, theirs = (Results(str(tmp_path / place)).rows() for place in ("here", "ray"))
    assert ours.keys() == theirs.keys()
    for fingerprint, row in ours.items():
        for metric in ("pixel_ap", "image_auroc", "ic_lpips_lite0"):
            assert row[metric] == pytest.approx(theirs[fingerprint][metric], abs=1e-6), metric
    # The base's six steps and those of two fusions, as their processes reported them.
    assert sorted(done.generator_steps.values()) == [6, 6, 6]
    status = json.loads((tmp_path / "ray" / "status.json").read_text())
    assert (status["state"], status["steps_done"]) == ("complete", 18)


def test_a_study_survives_yaml(defects: Callable[..., Study], tmp_path: Path) -> None:
    from goodshot.runner.named import load_study
    from goodshot.runner.study.settings import to_yaml

    study = defects(arms=["fusion:text+mif", "crop_paste"])
    (tmp_path / "study.yaml").write_text(to_yaml(study))
    assert load_study(str(tmp_path / "study.yaml")) == study
    assert yaml.safe_load((tmp_path / "study.yaml").read_text())["arms"] == ["fusion:text+mif", "crop_paste"]


@pytest.fixture
def damaged(photographs: Path, tmp_path: Path) -> Path:
    """The demo's coin in MVTec's layout, to be spoiled."""
    shutil.copytree(photographs / "coin", tmp_path / "data" / "coin")
    return tmp_path / "data"


def test_a_defect_without_a_marked_pixel_is_one_line_before_anything_runs(
    defects: Callable[..., Study], damaged: Path, tmp_path: Path
) -> None:
    study = defects(dataset={"name": "mvtec_ad", "root": str(damaged)}, categories=["coin"], arms=["crop_paste"])
    mask = damaged / "coin" / "ground_truth" / "stain" / "000_mask.png"
    Image.fromarray(np.zeros((128, 128), np.uint8)).save(mask)
    with pytest.raises(
        BadInput, match=r"stain/000\.png: nothing is marked in its mask, and a defect is learned from it"
    ):
        run(study, tmp_path / "out")
    mask.unlink()
    with pytest.raises(BadInput, match=r"has no mask in coin, .* add the masks that are missing"):
        run(study, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_both_says_where_no_photograph_is_left_to_choose_by(defects: Callable[..., Study], tmp_path: Path) -> None:
    said = []
    for name, shots in (("all", "full"), ("some", 12)):
        study, shown = defects(arms=["original", "crop_paste"], cells=["both"], shots=shots), io.StringIO()
        print_notes(declare([study], Options(str(tmp_path / name))), Console(file=shown))
        said.append("photographs that the detector has seen" in " ".join(shown.getvalue().split()))
    assert said == [True, False]


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("category", ["pill", "bottle"])
def test_the_study_of_real_photographs(category: str, shared: Path, tmp_path: Path) -> None:
    """The study of docs/defects.md, with trainings of a few steps."""
    study = validate(
        {
            "name": "real", "dataset": {"name": "mvtec_ad", "root": str(shared / "mvtec_ad_256")},
            "categories": [category], "shots": "full", "support_seeds": [0], "copies": [3],
            "arms": ["real_defects", "crop_paste", "cutpaste", "fusion:none", "fusion"],
            "cells": ["segmentation", "classification", "defect_images"],
            "synthesis": {**SYNTHESIS, "side": 128, "captions": str(shared / "mvtec_caption")},
        },
        "real",
    )  # fmt: skip
    plan, done = run(study, tmp_path)
    rows = list(Results(str(tmp_path)).rows().values())
    assert (done.failed, len(rows), len(plan.cells)) == (0, 5 + 4 + 3, 12)
    types = {"pill": 7, "bottle": 3}[category]
    made = {row["arm"]: row["images_made"] for row in rows if row["images_made"]}
    assert made == dict.fromkeys(("crop_paste", "cutpaste", "fusion:none", "fusion"), 3 * types)
    assert {row["n_test"] for row in rows if row["cell"] == "segmentation"} == {{"pill": 122, "bottle": 63}[category]}
    assert main(["verify", str(tmp_path)]) == 0
