"""Every stage's fingerprint and a golden output per stage version.

If a fingerprint here changes, stored results are orphaned; if an output changes while its fingerprint does not, stored
results lie. In both cases raise the stage's version in ``runner/plan.py`` (or ``catalogue.py``) and pin anew.
The photograph is cut from scikit-image's coffee cup and stored as BMP, so its bytes depend on no compressor.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from components.encoders import build_encoder
from components.generator.generator import Generator
from components.metrics.detection import IMAGE_SET
from runner.plan.plan import Plan
from runner.results.results import Results
from runner.run.execute import plan_studies
from runner.run.options import Options
from runner.stages.external import supply
from runner.stages.image_sets import ImageSets
from runner.stages.shard import make_shards, read_support, read_test
from runner.stages.stages import detect, rank_prompts, ranking_of
from runner.stages.vqgan_clip import make_vqgan_clip
from runner.store.artifacts import Store
from runner.study.study import Study

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
    ("generated", "test/good/0.bmp"): 16.166,
    ("generated", "test/hole/0.bmp"): 45.484,
    ("original", "test/good/0.bmp"): 16.166,
    ("original", "test/hole/0.bmp"): 45.484,
    ("augmented", "test/good/0.bmp"): 14.997,
    ("augmented", "test/hole/0.bmp"): 44.054,
}


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


@pytest.fixture(scope="module")
def made(cups: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store, Results]:
    from tests.conftest import TINY

    fields = {"dataset": {"name": "mvtec_ad", "root": str(cups)}, "categories": ["cup"], "objects": {"cup": "coin"}}
    study = Study.model_validate({**TINY, **fields})
    out = tmp_path_factory.mktemp("golden")
    plan = plan_studies([study], Options(str(out)))
    store, results = Store(str(out / "store")), Results(str(out))
    (category,) = plan.categories.values()
    (prompt,) = plan.prompts.values()
    (stage,) = plan.generators.values()
    make_shards(category.samples, category.shard, store)
    originals = read_support(prompt.support, store)
    rank_prompts(prompt, originals, store)

    def start() -> Generator:
        return Generator(originals, stage.config, stage.vq_weight, stage.seed)

    ImageSets(stage, store, build_encoder(stage.encoder), start, lambda steps, seconds: None).make()
    for planned in plan.cells.values():
        test = read_test(store, category.shard, planned.cell.detector.image_size)
        detect(planned, originals, test, store, results, "cpu")
    return plan, store, results


def test_fingerprints(made: tuple[Plan, Store, Results]) -> None:
    plan, _, _ = made
    (stage,) = plan.generators.values()
    found = {
        "shard": next(iter(plan.categories)),
        "prompt": next(iter(plan.prompts)),
        "generator": stage.key,
        "image_set": stage.image_sets[0].key,
        **{f"detection {planned.cell.arm}": f for f, planned in plan.cells.items()},
    }
    assert {name: key.rpartition("/")[2][:16] for name, key in found.items()} == FINGERPRINTS


def test_prompt_v1(made: tuple[Plan, Store, Results]) -> None:
    plan, store, _ = made
    best = max(ranking_of(next(iter(plan.prompts)), store)["rows"], key=lambda row: row["cosine"])
    assert best["prompt"] == "a coin with bezzant"
    assert best["cosine"] == pytest.approx(0.2624, abs=2e-3)


def test_generator_and_image_set_v2(made: tuple[Plan, Store, Results]) -> None:
    plan, store, _ = made
    (stage,) = plan.generators.values()
    artifact = store.get(stage.image_sets[0].key)
    images = artifact.arrays("images.safetensors")["images"]
    losses = store.get(f"{stage.key}/{artifact.info['trace']}").arrays("trace.safetensors")["loss_total"]
    assert losses == pytest.approx([1.06742, 0.93951, 0.80084], rel=1e-3)
    assert artifact.info["iteration"] == 4
    assert artifact.info["similarity"] == pytest.approx(0.2779, abs=2e-3)
    assert images.mean(axis=(0, 1, 2)) == pytest.approx([154.45, 129.47, 99.72], abs=0.5)


def test_detection_v1(made: tuple[Plan, Store, Results]) -> None:
    plan, _, results = made
    arms = {f: planned.cell.arm for f, planned in plan.cells.items()}
    scores = {(arms[s["fingerprint"]], s["image_id"]): s["score"] for s in results.read("scores").to_pylist()}
    assert scores == pytest.approx(SCORES, rel=1e-3)


def test_every_metric_of_every_subset_is_kept(made: tuple[Plan, Store, Results]) -> None:
    plan, _, results = made
    values = results.read("metrics").to_pylist()
    rows = results.rows()
    for fingerprint in plan.cells:
        own = {(v["subset"], v["metric"]): v for v in values if v["fingerprint"] == fingerprint}
        added = plan.cells[fingerprint].cell.arm != "original"
        assert {subset for subset, _ in own} == {"all", "hole", *([IMAGE_SET] if added else [])}
        assert len(own) == 2 * 9 + 5 * added
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
def comparators(cups: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store, Results]:
    """The other arms over the same cup, chosen by planted defects: one normal image besides the support."""
    from tests.conftest import TINY

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
    study = Study.model_validate({**TINY, **fields})
    out = tmp_path_factory.mktemp("comparators")
    plan = plan_studies([study], Options(str(out)))
    store, results = Store(str(out / "store")), Results(str(out))
    (category,) = plan.categories.values()
    (prompt,) = plan.prompts.values()
    (stage,) = plan.vqgan_clip.values()
    make_shards(category.samples, category.shard, store)
    originals = read_support(prompt.support, store)
    rank_prompts(prompt, originals, store)
    supply(plan.external.values(), store)
    training = stage.training

    def start() -> Generator:
        return Generator(originals, training.config, training.vq_weight, training.seed)

    make_vqgan_clip(stage, store, build_encoder(training.encoder), start, lambda steps, seconds: None)
    for planned in plan.cells.values():
        test = read_test(store, category.shard, planned.cell.detector.image_size)
        detect(planned, originals, test, store, results, "cpu")
    return plan, store, results


def test_fingerprints_of_the_comparators(comparators: tuple[Plan, Store, Results]) -> None:
    plan, _, _ = comparators
    found = {
        "external": next(iter(plan.external)),
        "vqgan_clip": next(iter(plan.vqgan_clip)),
        **{f"detection {planned.cell.label} planted": f for f, planned in plan.cells.items()},
    }
    assert {name: key.rpartition("/")[2][:16] for name, key in found.items()} == COMPARATORS


def test_external_v1(comparators: tuple[Plan, Store, Results]) -> None:
    plan, store, _ = comparators
    images = store.get(next(iter(plan.external))).arrays("images.safetensors")["images"]
    assert images.mean(axis=(1, 2, 3)) == pytest.approx([120.03, 116.75], abs=0.1)


def test_vqgan_clip_v1(comparators: tuple[Plan, Store, Results]) -> None:
    plan, store, _ = comparators
    (stage,) = plan.vqgan_clip.values()
    made = store.get(f"{stage.images}/image-00000").arrays("image.safetensors")
    assert made["losses"] == pytest.approx([0.8553, 0.8182], rel=5e-3)
    assert made["image"].mean(axis=(0, 1)) == pytest.approx([153.38, 129.41, 99.32], abs=2)


def test_planted_v1(comparators: tuple[Plan, Store, Results]) -> None:
    plan, _, results = comparators
    arms = {f: planned.cell.label for f, planned in plan.cells.items()}
    values = results.read("metrics").to_pylist()
    own = {
        arms[v["fingerprint"]]: v["value"] for v in values if (v["subset"], v["metric"]) == ("planted", "pixel_auroc")
    }
    assert own == pytest.approx({"original": 0.9786, "external:added": 0.9781, "vqgan_clip": 0.9786}, abs=2e-3)
