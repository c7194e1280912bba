"""Photographs in the object store: decoded once, one memory for all readers, given back after the last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from components.detectors import DetectorConfig
from runner.plan.scheduling import Shares
from runner.results.results import Results
from runner.run.execute import plan_studies
from runner.run.options import Options
from runner.stages.shard import make_shards, read_support, read_test
from runner.stages.stages import SharedFeatures, detect, embed_images
from runner.store.artifacts import Store
from runner.study.study import Resources, Study


def test_a_split_is_one_shared_memory_until_its_last_cell(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    plan = plan_studies([tiny_study()], Options(str(tmp_path)))
    (category,) = plan.categories.values()
    store = Store(str(tmp_path / "store"))
    make_shards(category.samples, category.shard, store, category.source)
    cells = list(plan.cells.values())
    size = cells[0].cell.detector.image_size

    from runner.cluster.connection import cluster

    with cluster(None, 1):
        import ray

        from runner.cluster.decoded import DecodedImages

        decoded = DecodedImages(store.uri, Shares(Resources(), [{"CPU": 1.0}]))
        decoded.expect(cells)
        first = decoded.test(category.shard, size)
        split, again = ray.get(first), ray.get(decoded.test(category.shard, size))
        assert split.images.ctypes.data == again.images.ctypes.data
        assert not split.images.flags.writeable
        expected = read_test(store, category.shard, size)
        np.testing.assert_array_equal(split.images, expected.images)
        np.testing.assert_array_equal(split.masks, expected.masks)
        (original,) = ray.get(decoded.support(cells[0].support))
        np.testing.assert_array_equal(original, read_support(cells[0].support, store)[0])
        for planned in cells[:-1]:
            decoded.release(planned)
        assert decoded.test(category.shard, size) == first
        decoded.release(cells[-1])
        assert decoded.test(category.shard, size) != first


def test_originals_reach_an_actor_that_holds_the_last_cpu(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    plan = plan_studies([tiny_study()], Options(str(tmp_path)))
    (category,) = plan.categories.values()
    store = Store(str(tmp_path / "store"))
    make_shards(category.samples, category.shard, store, category.source)
    support = next(iter(plan.cells.values())).support

    from runner.cluster.connection import cluster

    with cluster(None, 1):
        import ray

        from runner.cluster.decoded import DecodedImages

        @ray.remote(num_cpus=1)
        class Holder:
            def count(self, originals: list[np.ndarray]) -> int:
                return len(originals)

        holder = Holder.remote()
        ray.get(holder.__ray_ready__.remote())
        reference = DecodedImages(store.uri, Shares(Resources(), [{"CPU": 1.0}])).support(support)
        assert ray.get(holder.count.remote(reference), timeout=60) == 1


def test_cells_share_features_and_score_as_without(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    plan = plan_studies([tiny_study()], Options(str(tmp_path)))
    (category,) = plan.categories.values()
    store = Store(str(tmp_path / "store"))
    make_shards(category.samples, category.shard, store, category.source)
    planned = next(p for p in plan.cells.values() if p.cell.arm == "augmented")
    originals, test = read_support(planned.support, store), read_test(store, category.shard, 64)

    from runner.cluster.connection import cluster

    with cluster(None, 1):
        import ray

        from runner.cluster.decoded import DecodedImages

        decoded = DecodedImages(store.uri, Shares(Resources(), [{"CPU": 1.0}]))
        decoded.expect(plan.cells.values())
        references = [decoded.features(p) for p in plan.cells.values()]
        assert len({id(reference) for pair in references for reference in pair}) == 2
        shared = SharedFeatures(*ray.get(references[0]))
    assert shared.originals is not None
    assert len(shared.originals) == len(originals)
    rows = [
        detect(planned, originals, test, store, Results(str(tmp_path / name)), "cpu", features)
        for name, features in (("alone", SharedFeatures()), ("shared", shared))
    ]
    for metric in ("image_auroc", "pixel_auroc", "aupro"):
        assert rows[0][metric] == rows[1][metric]


def test_features_too_large_to_be_kept_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.zeros((3, 64, 64, 3), np.uint8)
    config = DetectorConfig(image_size=64)
    assert embed_images(config, images).shape == (3, 152, 8, 8)
    monkeypatch.setattr("runner.stages.stages.LARGEST_SHARED", 3 * 152 * 64 * 4 - 1)
    assert embed_images(config, images) is None
