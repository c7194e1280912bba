"""Shared values in Ray's object store: loaded once, one memory for all readers, given back after the last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import ray

from goodshot.components.detectors import DetectorConfig
from goodshot.runner.cells import Measured
from goodshot.runner.cells.detection import DetectionStage
from goodshot.runner.cluster.silence import Silence
from goodshot.runner.cluster.submissions import Submissions
from goodshot.runner.cluster.values import SharedValues
from goodshot.runner.declaration.resources import Resources
from goodshot.runner.executor.local import LocalExecutor
from goodshot.runner.plan.plan import Plan
from goodshot.runner.plan.scheduling import Shares
from goodshot.runner.run.execute import plan_studies
from goodshot.runner.run.options import Options
from goodshot.runner.stages.base import Context, SharedValue, Stage
from goodshot.runner.stages.shard import ShardStage, read_support, read_test
from goodshot.runner.stages.values import ImageFeatures, embed_images
from goodshot.runner.store.artifacts import Store
from goodshot.runner.study.study import Study

SHARES_RAY = True

WITHOUT_FEATURES = {"name": "cflow", "image_size": 64}
"""A detector that shares no features: its cells read the decoded images alone."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def planned(tiny_study: Callable[..., Study], tmp_path: Path, store: Store) -> Callable[..., tuple[Plan, SharedValues]]:
    """The plan of a tiny study, whose shard is in the store, and the shared values of a node with one CPU."""

    def make(**fields: object) -> tuple[Plan, SharedValues]:
        plan = plan_studies([tiny_study(**fields)], Options(str(tmp_path)))
        (shard,) = plan.of(ShardStage)
        LocalExecutor(plan, store).make(shard.id)
        return plan, SharedValues(store.uri, Shares([{"CPU": 1.0}]), Submissions(), Silence())

    return make


def test_a_split_is_one_shared_memory_until_its_last_cell(
    planned: Callable[..., tuple[Plan, SharedValues]], store: Store
) -> None:
    plan, values = planned(detectors=[WITHOUT_FEATURES])
    cells = list(plan.cells.values())
    assert len(cells) == 3
    values.expect(cells)
    originals, first = values.references(cells[0])
    split, again = ray.get(first), ray.get(values.references(cells[1])[1])
    assert split.images.ctypes.data == again.images.ctypes.data
    assert not split.images.flags.writeable
    expected = read_test(store, cells[0].support.shard, 64)
    np.testing.assert_array_equal(split.images, expected.images)
    np.testing.assert_array_equal(split.masks, expected.masks)
    (original,) = ray.get(originals)
    np.testing.assert_array_equal(original, read_support(cells[0].support, store)[0])
    for cell in cells[:-1]:
        values.release(cell)
    assert values.references(cells[-1]) == [originals, first]
    values.release(cells[-1])
    assert not {*values.references(cells[-1])} & {originals, first}


@dataclass(frozen=True)
class NameOfItsTask(SharedValue):
    """The name by which Ray's dashboard lists the task that loads it."""

    def load(self, store: Store, inputs: Sequence[Any], device: str, threads: int) -> str | None:
        return ray.get_runtime_context().get_task_name()


def test_the_task_that_loads_a_value_says_what_and_for_whom(store: Store) -> None:
    values = SharedValues(store.uri, Shares([{"CPU": 1.0}]), Submissions(), Silence())
    reads = (NameOfItsTask(),)
    stage = cast(Stage, SimpleNamespace(reads=reads, resources=Resources(), label=lambda _: "generator coin"))
    (name,) = ray.get(values.references(stage, "generator coin λ=1 L=60"))
    assert name == "load NameOfItsTask for generator coin λ=1 L=60"
    # The second reader gets the same value.
    assert ray.get(values.references(stage)) == [name]


def test_originals_reach_an_actor_that_holds_the_last_cpu(planned: Callable[..., tuple[Plan, SharedValues]]) -> None:
    class Holder:
        def count(self, originals: list[np.ndarray]) -> int:
            return len(originals)

    plan, values = planned(detectors=[WITHOUT_FEATURES])
    holder = ray.remote(num_cpus=ray.cluster_resources()["CPU"])(Holder).remote()
    try:
        ray.get(holder.__ray_ready__.remote())
        (originals, _) = values.references(next(iter(plan.cells.values())))
        assert ray.get(holder.count.remote(originals), timeout=60) == 1
    finally:
        ray.kill(holder)


@pytest.mark.slow
def test_cells_share_features_and_score_as_without(
    planned: Callable[..., tuple[Plan, SharedValues]], store: Store
) -> None:
    plan, values = planned(arms=["original", "augmented"])
    values.expect(plan.cells.values())
    references = [values.references(cell) for cell in plan.cells.values()]
    assert references[0] == references[1]
    (cell,) = (cell for cell in plan.cells.values() if cell.cell.arm.name == "augmented")
    assert isinstance(cell, DetectionStage)
    shared = dict(zip(cell.reads, ray.get(references[1]), strict=True))
    features = [content for value, content in shared.items() if isinstance(value, ImageFeatures)]
    assert [len(each) for each in features] == [1, 28]
    alone = {value: None if isinstance(value, ImageFeatures) else content for value, content in shared.items()}
    measured: list[Measured] = [cell.run(Context(store, read.__getitem__), [cell]) for read in (shared, alone)]
    for metric in ("image_auroc", "pixel_auroc", "aupro"):
        assert measured[0].columns[metric] == measured[1].columns[metric]
    assert measured[0].scores == measured[1].scores


def test_features_too_large_to_be_kept_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.zeros((3, 64, 64, 3), np.uint8)
    config = DetectorConfig(image_size=64)
    features = embed_images(config, images)
    assert features is not None
    assert features.shape == (3, 152, 8, 8)
    monkeypatch.setattr("goodshot.runner.stages.values.LARGEST_FEATURES", 3 * 152 * 64 * 4 - 1)
    assert embed_images(config, images) is None
