"""Every stage's fingerprint and a golden output per stage version.

If a fingerprint here changes, stored results are orphaned; if an output changes while its fingerprint does not, stored
results lie. In both cases raise the ``version`` of the stage's class and pin anew.

The photograph is cut from scikit-image's coffee cup and stored as BMP, so its bytes depend on no compressor. Outputs
are pinned where every CPU gives them: no pinned number lies behind a training or behind the choice of a codebook entry,
where the last bit of a matrix product may decide. Such stages are held to what they are made of instead.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from goodshot.components.generator.latent import VARIANCE_FLOOR
from goodshot.components.metrics.detection import IMAGE_SET
from goodshot.components.metrics.latents import latent_values, standardised
from goodshot.runner.executor.local import LocalExecutor
from goodshot.runner.plan.plan import Plan
from goodshot.runner.results.results import Results
from goodshot.runner.results.trials import search_identity
from goodshot.runner.run.execute import plan_studies
from goodshot.runner.run.options import Options
from goodshot.runner.stages.base import Context, Stage, load_value
from goodshot.runner.stages.external import ExternalSetStage
from goodshot.runner.stages.image_set import ImageSetStage
from goodshot.runner.stages.latents import LatentsStage, read_latents
from goodshot.runner.stages.prompt import PromptStage
from goodshot.runner.stages.training import TrainingStage
from goodshot.runner.stages.vqgan_clip import VQGANClipStage
from goodshot.runner.store.artifacts import Store
from goodshot.runner.study.study import Study
from tests.conftest import TINY

Made = tuple[Plan, Store, Results]

FINGERPRINTS = {
    "shard": "f220c41933fb1e01",
    "prompt": "7407bef4f7ef9023",
    "generator": "d7f9f730d51783fb",
    "image_set": "4c1cf494d6cdeea3",
    "detection original": "d411d8a8331de845",
    "detection augmented": "89a5de73903288b0",
    "detection generated": "34e710bf334ffe99",
}


SCORES = {
    ("original", "test/good/0.bmp"): 16.166,
    ("original", "test/hole/0.bmp"): 45.484,
    ("augmented", "test/good/0.bmp"): 14.997,
    ("augmented", "test/hole/0.bmp"): 44.054,
}
"""PatchCore's distances: sums of float32 products, whose order differs between CPUs by about 1e-6 of their size."""


@pytest.fixture(scope="module")
def cups(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One category in MVTec's layout: a cup to learn from, the same cup shifted, and with a hole planted."""
    root = tmp_path_factory.mktemp("cups")
    photo = np.asarray(skimage.data.coffee())
    crop, shifted = photo[100:228, 200:328], photo[104:232, 196:324]
    broken = shifted.copy()
    broken[40:60, 50:80] = 255
    mask = np.zeros((128, 128), np.uint8)
    mask[40:60, 50:80] = 255
    for name, pixels in {
        "train/good/0.bmp": crop,
        "test/good/0.bmp": shifted,
        "test/hole/0.bmp": broken,
        "ground_truth/hole/0_mask.bmp": mask,
    }.items():
        path = root / "cup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return root


def run(study: Study, out: Path) -> Made:
    """Everything of a study, in this process."""
    plan = plan_studies([study], Options(str(out)))
    store, results = Store(str(out / "store")), Results(str(out))
    LocalExecutor(plan, store, results).run(list(plan.cells))
    assert not results.tries()
    return plan, store, results


def digits(stage: Stage) -> str:
    """The first 16 digits of a stage's key."""
    return stage.key.rpartition("/")[2][:16]


@pytest.fixture(scope="module")
def made(cups: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    fields = {"dataset": {"name": "mvtec_ad", "root": str(cups)}, "categories": ["cup"], "objects": {"cup": "coin"}}
    return run(Study.model_validate({**TINY, **fields}), tmp_path_factory.mktemp("golden"))


def test_fingerprints(made: Made) -> None:
    plan, _, _ = made
    stages = {stage.kind: digits(stage) for stage in plan.stages.values()}
    cells = {f"{cell.kind} {cell.cell.arm.label}": digits(cell) for cell in plan.cells.values()}
    assert stages | cells == FINGERPRINTS


def test_identity_of_a_search() -> None:
    """A search that goes on finds its trials by it, also where a version has more fields than the one before."""
    study = Study.model_validate({**TINY, "search": {"algorithm": "random", "trials": 2}})
    assert search_identity(study) == "375af944"


def test_prompt_v1(made: Made) -> None:
    plan, store, _ = made
    (prompt,) = plan.of(PromptStage)
    rows = sorted(store.get(prompt.key).json("ranking.json")["rows"], key=lambda row: -row["cosine"])
    assert rows[0]["prompt"] == "a coin with bezzant"
    # Two float32 networks: their cosines agree to about 1e-5 between CPUs, and the second prompt is farther away.
    assert rows[0]["cosine"] == pytest.approx(0.2624, abs=2e-3)
    assert rows[0]["cosine"] - rows[1]["cosine"] > 1e-3


def test_generator_and_image_set_v2(made: Made) -> None:
    plan, store, _ = made
    (training,), (image_set,) = plan.of(TrainingStage), plan.of(ImageSetStage)
    artifact = store.get(image_set.key)
    images = artifact.arrays("images.safetensors")["images"]
    trace = store.get(f"{training.key}/{artifact.info['trace']}").arrays("trace.safetensors")
    assert images.shape == (2, 32, 32, 3)
    assert trace["iterations"].tolist() == [2, 4]
    assert trace["loss_iteration"].tolist() == [1, 2, 3]
    # Before the first update only the choice of codes depends on the CPU, and one code moves the loss by less.
    assert trace["loss_total"][0] == pytest.approx(1.067, rel=0.05)
    text = store.get(image_set.prompt).arrays("embeddings.safetensors")[image_set.prompt_kind].astype(np.float64)
    mean = trace["embeddings"].astype(np.float64).mean(axis=1)
    similarities = mean @ text / np.linalg.norm(mean, axis=1) / np.linalg.norm(text)
    assert artifact.info["iteration"] == trace["iterations"][np.argmax(similarities)]
    # The text's norm is taken in float32.
    assert artifact.info["similarity"] == pytest.approx(similarities.max(), abs=1e-6)


def test_the_images_of_a_set_are_those_of_its_generator(made: Made, tmp_path: Path) -> None:
    """Trained again in this process: the same bytes, because a thread count decides the order of every sum."""
    plan, store, _ = made
    (image_set,) = plan.of(ImageSetStage)
    again = Store(str(tmp_path))
    LocalExecutor(plan, again).make(image_set.id)
    one, other = (each.get(image_set.key).arrays("images.safetensors")["images"] for each in (store, again))
    assert np.array_equal(one, other)


def test_detection_v2(made: Made) -> None:
    plan, _, results = made
    arms = {f: cell.cell.arm.label for f, cell in plan.cells.items()}
    scores = {(arms[s["fingerprint"]], s["image_id"]): s["score"] for s in results.read("scores").to_pylist()}
    assert {key: score for key, score in scores.items() if key in SCORES} == pytest.approx(SCORES, rel=1e-3)
    # A memory bank with the original in it is never farther from an image than the original's patches alone.
    for image in ("test/good/0.bmp", "test/hole/0.bmp"):
        assert scores["generated", image] <= scores["original", image] * (1 + 1e-3)


def test_every_metric_of_every_subset_is_kept(made: Made) -> None:
    plan, _, results = made
    values = results.read("metrics").to_pylist()
    rows = results.rows()
    for fingerprint in plan.cells:
        own = {(v["subset"], v["metric"]): v for v in values if v["fingerprint"] == fingerprint}
        added = plan.cells[fingerprint].cell.copies > 0
        assert {subset for subset, _ in own} == {"all", "hole", *([IMAGE_SET] if added else [])}
        assert len(own) == 2 * 9 + 7 * added
        for name in ("image_auroc", "pixel_auroc", "aupro"):
            assert own["all", name]["value"] == rows[fingerprint][name]
        # Two images: every resample is the same two. A pixel metric has no interval, which is NaN and not null.
        assert own["hole", "image_auroc"]["low"] == own["hole", "image_auroc"]["high"] == 1
        assert math.isnan(own["all", "pixel_ap"]["low"])


COMPARATORS = {
    "external": "e512a465de973c37",
    "vqgan_clip": "c385c42b68ed62a5",
    "detection original planted": "813691bcb04c780f",
    "detection external:added planted": "9264e72deedddd40",
    "detection vqgan_clip planted": "00e6bf3406b9b55b",
}


@pytest.fixture(scope="module")
def comparators(cups: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The other arms over the same cup, chosen by synthetic anomalies: one normal image besides the support."""
    added = cups / "added"
    added.mkdir()
    photo = np.asarray(skimage.data.coffee())
    for i in range(2):
        Image.fromarray(photo[100 + 8 * i : 228 + 8 * i, 200:328]).save(added / f"{i}.bmp")
    fields = {
        "dataset": {"name": "mvtec_ad", "root": str(cups)},
        "categories": ["cup"],
        "objects": {"cup": "coin"},
        "arms": ["original", f"external:{added}", "vqgan_clip"],
        "vqgan_clip": {"iterations": 2, "cutouts": 2},
        "objective": "planted",
        "planted": {"normals": 2},
    }
    return run(Study.model_validate({**TINY, **fields}), tmp_path_factory.mktemp("comparators"))


def test_fingerprints_of_the_comparators(comparators: Made) -> None:
    plan, _, _ = comparators
    found = {
        "external": digits(*plan.of(ExternalSetStage)),
        "vqgan_clip": digits(*plan.of(VQGANClipStage)),
        **{f"detection {cell.cell.arm.label} planted": f[:16] for f, cell in plan.cells.items()},
    }
    assert found == COMPARATORS


def test_external_v1(comparators: Made) -> None:
    plan, store, _ = comparators
    (stage,) = plan.of(ExternalSetStage)
    images = store.get(stage.key).arrays("images.safetensors")["images"]
    # Decoded and resized in integers.
    assert images.mean(axis=(1, 2, 3)) == pytest.approx([120.03, 116.75], abs=0.1)


def test_vqgan_clip_v1(comparators: Made, tmp_path: Path) -> None:
    """Each step takes the nearest codes, so the second loss is chaotic: pinned is what the set is made of."""
    plan, store, _ = comparators
    (stage,) = plan.of(VQGANClipStage)
    parts = [store.get(f"{stage.images}/image-{m:05d}").arrays("image.safetensors") for m in range(stage.copies)]
    images = store.get(stage.key).arrays("images.safetensors")["images"]
    assert np.array_equal(images, np.stack([part["image"] for part in parts]))
    assert images.shape == (2, 32, 32, 3)
    for part in parts:
        assert part["losses"].shape == (2,)
        # Spherical distance of unit vectors, 2·arcsin(d/2)²: below that of orthogonal ones, π²/8, since all images and
        # texts of ConSE have a positive cosine.
        assert np.all((part["losses"] > 0) & (part["losses"] < math.pi**2 / 8))
    assert store.get(stage.key).info["iteration"] == stage.updates + 1 == 4
    fewer = Store(str(tmp_path))
    LocalExecutor(plan, fewer).make(str(stage.trained))
    LocalExecutor(replaced(plan, replace(stage, key="image_set/fewer", copies=1)), fewer).make("image_set/fewer")
    assert np.array_equal(fewer.get("image_set/fewer").arrays("images.safetensors")["images"], images[:1])


def replaced(plan: Plan, stage: VQGANClipStage) -> Plan:
    """The plan with one stage more."""
    return replace(plan, stages={**plan.stages, stage.id: stage})


@pytest.fixture(scope="module")
def latent_cells(cups: Path, made: Made, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The latents of the same generator."""
    fields = {"dataset": {"name": "mvtec_ad", "root": str(cups)}, "categories": ["cup"], "objects": {"cup": "coin"}}
    study = Study.model_validate({**TINY, **fields, "arms": ["generated"], "cells": ["latents"]})
    return run(study, tmp_path_factory.mktemp("latent_cells"))


def test_latents_v1(latent_cells: Made) -> None:
    """All values lie behind a training: pinned is that they are those of the network after L − 1 updates."""
    plan, store, results = latent_cells
    (stage,) = plan.of(LatentsStage)
    assert (stage.key.rpartition("/")[2][:16], next(iter(plan.cells))[:16]) == ("422fac651aa92d6c", "381a69b7bbc8c623")
    assert digits(*plan.of(TrainingStage)) == FINGERPRINTS["generator"]
    context = Context(store, partial(load_value, store=store))
    generator = stage.training.spec(context).build("cpu")
    generator.advance(3)
    samples, variance, codes = (part.numpy() for part in generator.latents(20))
    found = latent_values(samples, variance, codes, VARIANCE_FLOOR)
    assert store.get(stage.key).info["values"] == found
    (row,) = results.rows().values()
    assert {name: row[name] for name in found} == found
    assert read_latents(store, stage.key).counts.sum() == standardised(samples).size


@pytest.fixture(scope="module")
def image_cells(cups: Path, comparators: Made, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The quality of the supplied images, and of augmented views."""
    fields = {
        "dataset": {"name": "mvtec_ad", "root": str(cups)},
        "categories": ["cup"],
        "arms": ["augmented", f"external:{cups / 'added'}"],
        "cells": ["images"],
    }
    return run(Study.model_validate({**TINY, **fields}), tmp_path_factory.mktemp("image_cells"))


def test_images_v1(image_cells: Made) -> None:
    plan, _, results = image_cells
    found = {cell.cell.arm.label: f[:16] for f, cell in plan.cells.items()}
    assert found == {"augmented": "73002370741bb026", "external:added": "b566118054de5f96"}
    (row,) = (row for row in results.rows().values() if row["arm"] == "external:added")
    # Decoded and resized in integers, the original in float32.
    assert (row["ssim"], row["psnr"]) == pytest.approx((0.68306, 35.714), rel=1e-3)


def test_planted_v1(comparators: Made) -> None:
    plan, _, results = comparators
    arms = {f: cell.cell.arm.label for f, cell in plan.cells.items()}
    values = results.read("metrics").to_pylist()
    own = {
        arms[v["fingerprint"]]: v["value"] for v in values if (v["subset"], v["metric"]) == ("planted", "pixel_auroc")
    }
    # Ranks of float32 distances of about a million pixels: a few neighbours change places between CPUs.
    assert own["original"] == pytest.approx(0.9786, abs=2e-3)
    assert own["external:added"] == pytest.approx(0.9781, abs=2e-3)
    assert 0.9 < own["vqgan_clip"] <= 1
