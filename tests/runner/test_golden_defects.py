"""Fingerprints of the stages and cells of defective images, and what holds of their outputs on every CPU.

As in ``test_golden.py``: where a fingerprint changes, stored results are orphaned; where an output changes and its
fingerprint does not, stored results lie; in both cases the ``version`` of the class is raised and pinned anew. What
trainings make is compared with a second training in this process, since the last bits depend on the CPU.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from goodshot.runner.executor.local import LocalExecutor
from goodshot.runner.plan.plan import Plan
from goodshot.runner.results.results import Results
from goodshot.runner.stages.base import Stage
from goodshot.runner.stages.defect_set import read_defect_set
from goodshot.runner.stages.fusion import DiffusionBaseStage, FusionSetStage, FusionStage, MaskEncoderStage
from goodshot.runner.stages.pasted_set import PastedSetStage
from goodshot.runner.stages.segmenter import SegmenterStage
from goodshot.runner.stages.shard import ShardStage
from goodshot.runner.store.artifacts import Store
from goodshot.runner.study.study import Study
from tests.conftest import TINY
from tests.runner.test_defects_on_the_runner import SYNTHESIS
from tests.runner.test_golden import Made, run

STAGES = {
    ShardStage: ("f9b137297f27e8ca",),
    MaskEncoderStage: ("d148e81fc8af4a13",),
    DiffusionBaseStage: ("b6b817d4cde25b84",),
    FusionStage: ("c28637942caa41af",),
    FusionSetStage: ("cffb6991a291ab3c",),
    PastedSetStage: ("a7a9108b4be2a825",),
    SegmenterStage: ("79cedc7801693f86", "75c5b7bdf69ec7dd"),
}
CELLS = {
    "defect_images crop_paste": "966c55954e3d42b8",
    "defect_images fusion": "bdc2b525e879aef2",
    "segmentation crop_paste": "8526ec870a1e669b",
    "segmentation fusion": "cffc481b312d5bc7",
    "classification crop_paste": "36a578d716bd71d9",
    "classification fusion": "ec460b1e4c85c136",
    "both crop_paste": "904bdd08701f4b61",
    "both fusion": "7f922b915748128a",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Cups with planted rectangles of two types, three images of each, one of which is learned from."""
    root = tmp_path_factory.mktemp("broken_cups")
    photo = np.asarray(skimage.data.coffee())
    for i, (kind, value) in enumerate([("hole", 255)] * 3 + [("dirt", 20)] * 3):
        pixels = photo[100 + 4 * i : 228 + 4 * i, 200:328].copy()
        mask = np.zeros((128, 128), np.uint8)
        mask[40 + 4 * i : 70 + 4 * i, 50:80] = 255
        pixels[mask > 0] = value
        save(root / "cup" / "test" / kind / f"{i}.bmp", pixels)
        save(root / "cup" / "ground_truth" / kind / f"{i}_mask.bmp", mask)
    save(root / "cup" / "train" / "good" / "0.bmp", photo[100:228, 200:328])
    save(root / "cup" / "test" / "good" / "0.bmp", photo[104:232, 196:324])
    fields = {
        "dataset": {"name": "mvtec_ad", "root": str(root)}, "categories": ["cup"], "objects": {"cup": "coin"},
        "arms": ["original", "crop_paste", "fusion"], "copies": [2], "synthesis": SYNTHESIS,
        "cells": ["defect_images", "segmentation", "classification", "both"],
    }  # fmt: skip
    return run(Study.model_validate({**TINY, **fields}), tmp_path_factory.mktemp("golden"))


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def keys_of(kind: type[Stage], plan: Plan) -> tuple[str, ...]:
    """The first 16 digits of the stages of a kind."""
    return tuple(str(stage.key).rpartition("/")[2][:16] for stage in plan.of(kind))


def test_fingerprints(made: Made) -> None:
    plan, _, _ = made
    assert {kind: keys_of(kind, plan) for kind in dict.fromkeys(map(type, plan.stages.values()))} == STAGES
    assert {f"{cell.cell.kind.name} {cell.cell.arm.label}": f[:16] for f, cell in plan.cells.items()} == CELLS


def test_pasted_set_v1(made: Made) -> None:
    plan, store, _ = made
    (stage,) = plan.of(PastedSetStage)
    images = read_defect_set(store, [stage.key]).images
    assert images.types == ("dirt", "hole") * 2
    # Masks are rotated and scaled in float64 and rounded: a pixel at their border may differ between CPUs.
    assert images.masks.sum(axis=(1, 2)) == pytest.approx([95, 41, 63, 37], abs=2)
    assert images.images.mean(axis=(1, 2, 3)) == pytest.approx([111.33, 125.24, 113.38, 121.87], abs=0.5)


def test_fusion_set_v1(made: Made) -> None:
    """All pixels lie behind a training: pinned is where they were made, and that all others are those of the good."""
    plan, store, _ = made
    (pasted,), (stage,) = plan.of(PastedSetStage), plan.of(FusionSetStage)
    one, other = (read_defect_set(store, [each.key]) for each in (pasted, stage))
    # The sites are those of the seed, whatever makes the images.
    np.testing.assert_array_equal(one.images.masks, other.images.masks)
    good = store.get(stage.key).arrays("images.safetensors")["shown_goods"]
    outside = ~other.images.masks
    np.testing.assert_array_equal(other.images.images[outside], good[outside])
    assert (other.images.images[~outside] != good[~outside]).mean() > 0.5


def test_defect_images_v1(made: Made) -> None:
    _, _, results = made
    (row,) = (row for row in results.rows().values() if (row["cell"], row["arm"]) == ("defect_images", "crop_paste"))
    assert (row["is_lite0"], row["ic_lpips_lite0"]) == pytest.approx((1.189, 0.779), rel=0.02)
    assert row["background_difference"] == 0


def test_all_of_it_again_gives_the_same(made: Made, tmp_path: Path) -> None:
    """Trained again in this process, because a thread count decides the order of every sum."""
    plan, store, results = made
    others = Store(str(tmp_path / "store")), Results(str(tmp_path))
    LocalExecutor(plan, *others).run(list(plan.cells))
    for kind in STAGES:
        for stage in plan.of(kind):
            one, other = (each.get(stage.key) for each in (store, others[0]))
            for name in (file for file in one.names if file.endswith(".safetensors")):
                assert one.read(name) == other.read(name), (kind, name)
    rows = others[1].rows()
    for fingerprint, row in results.rows().items():
        for metric in plan.cells[fingerprint].cell.kind.metrics:
            assert row[metric] == pytest.approx(rows[fingerprint][metric], nan_ok=True), (row["cell"], metric)
