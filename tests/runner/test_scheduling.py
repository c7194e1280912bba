"""What a stage takes of a node: declared, or measured memory as a share of a GPU; and how many fit."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from goodshot.runner.plan.scheduling import Share, Shares, expected_seconds, longest_first
from goodshot.runner.run.execute import plan_studies
from goodshot.runner.run.options import Options
from goodshot.runner.stages.base import Stage
from goodshot.runner.stages.costs import MEMORY_FILE, Cost, Memory, read_memory, remember_memory
from goodshot.runner.stages.image_set import ImageSetStage
from goodshot.runner.stages.prompt import PromptStage
from goodshot.runner.stages.shard import ShardStage
from goodshot.runner.stages.training import TrainingStage
from goodshot.runner.store.files import Files
from goodshot.runner.store.retention import superfluous
from goodshot.runner.study.study import Study

Training = Callable[..., TrainingStage]

GB = 2**30
MIXED = [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 32.0}, {"CPU": 3.0, "GPU": 1.0}]
"""A node with two GPUs, one without any, and a small one."""


@pytest.fixture
def training(tiny_study: Callable[..., Study], tmp_path: Path) -> Training:
    """The training of a tiny study with these resources."""

    def make(**resources: object) -> TrainingStage:
        study = tiny_study(resources=resources)
        (found,) = plan_studies([study], Options(str(tmp_path))).of(TrainingStage)
        return found

    return make


def kind_of(stage: Stage) -> str:
    """The kind of work by which its memory is measured."""
    kind = stage.memory_kind()
    assert kind is not None
    return kind


@pytest.mark.parametrize(
    ("share", "fit"),
    [
        (Share(1, 0), 8 + 32 + 3),
        (Share(2, 0), 4 + 16 + 1),
        (Share(1, 1), 2 + 0 + 1),
        (Share(4, 1), 2 + 0 + 0),
        (Share(1, 0.5), 4 + 0 + 2),
        # Three shares of 0.3 on each GPU; the small node has three CPUs.
        (Share(1, 0.3), 6 + 0 + 3),
        # Two on each GPU: what is left of two GPUs does not make a third.
        (Share(1, 0.4), 4 + 0 + 2),
        (Share(1, 0.2), 8 + 0 + 3),
        (Share(1, 2), 1),
    ],
)
def test_stages_fit_on_nodes_one_by_one(share: Share, fit: int) -> None:
    assert share.fits(MIXED) == fit


def test_workers_that_train_one_generator_fit_on_one_node() -> None:
    # The actor and its two workers have a CPU each, and are on one node.
    assert Share(1, 0, workers=2).fits(MIXED) == 8 // 3 + 32 // 3 + 3 // 3
    # Of three GPUs on two nodes, the actor and its workers would need three on one.
    assert Share(1, 1, workers=2).fits(MIXED) == 0


def test_without_a_gpu_everything_is_on_the_cpu(training: Training) -> None:
    shares, stage = Shares([{"CPU": 4.0}]), training()
    assert shares.of(stage) == Share(1, 0)
    assert shares.of(stage).device == "cpu"
    assert (shares.at_once(stage), shares.detections(stage.resources)) == (4, 4)


def test_the_first_of_a_kind_has_a_gpu_of_its_own_and_the_next_what_it_needed(training: Training) -> None:
    shares, stage = Shares(MIXED), training()
    assert shares.of(stage) == Share(1, 1)
    assert shares.at_once(stage) == 3
    kind = kind_of(stage)
    # 1.2 × 10 GB and the context's 0.6 GB of 80 GB: 0.157, rounded up to 0.2.
    shares.measured(kind, Memory(10 * GB, 80 * GB))
    assert shares.of(stage) == Share(1, 0.2)
    assert shares.at_once(stage) == 8 + 3
    # A smaller GPU elsewhere: what is safe on both.
    shares.measured(kind, Memory(4 * GB, 40 * GB))
    assert shares.of(stage) == Share(1, 0.35)
    shares.measured(kind, Memory(70 * GB, 80 * GB))
    assert shares.of(stage) == Share(1, 1)


def test_memory_is_counted_in_bytes_of_the_cards_that_the_nodes_have(training: Training) -> None:
    large, small = {"GPU": 1.0, "accelerator_type:H200": 1.0}, {"GPU": 1.0, "accelerator_type:L4": 1.0}
    kind = kind_of(stage := training())
    # Measured by an earlier run on a card of 140 GB: 1.2 × 10 GB and 0.6 GB of it.
    shares = Shares([{"CPU": 8.0, **large}], {kind: {"NVIDIA H200": Memory(10 * GB, 140 * GB, "NVIDIA H200")}})
    assert shares.of(stage) == Share(1, 0.1)
    # An L40S is no L4, although its name begins like one.
    shares.measured(kind, Memory(10 * GB, 48 * GB, "NVIDIA L40S"))
    # Nothing is known of the other card: the first stage reserves a whole one, which is then measured.
    shares.nodes[:] = [{"CPU": 8.0, **large}, {"CPU": 8.0, **small}]
    assert shares.of(stage) == Share(1, 1)
    shares.measured("another kind", Memory(1 * GB, 24 * GB, "NVIDIA L4"))
    assert shares.of(stage) == Share(1, 0.55)
    shares.nodes[:] = [{"CPU": 8.0, **large}]
    assert shares.of(stage) == Share(1, 0.1)


def test_what_is_declared_holds_and_limits_are_kept(training: Training) -> None:
    shares, stage = Shares(MIXED), training(generator_gpus=0.25, generators=2)
    shares.measured(kind_of(stage), Memory(10 * GB, 80 * GB))
    assert shares.of(stage) == Share(1, 0.25)
    assert shares.at_once(stage) == 2
    assert Shares([{"CPU": 2.0}]).at_once(training(generators=9)) == 2


def test_a_named_type_of_gpu_is_reserved_asked_for_and_measured_alone(training: Training) -> None:
    large, small = {"GPU": 1.0, "accelerator_type:H200": 1.0}, {"GPU": 2.0, "accelerator_type:L4": 1.0}
    stage, on_cpus = training(generator_accelerator="L4"), Shares([{"CPU": 8.0}])
    # The node is waited for, and an autoscaler is asked for it, instead of training on CPUs.
    share = on_cpus.of(stage)
    assert (share, share.fits(on_cpus.nodes)) == (Share(1, 1, accelerator="L4"), 0)
    assert share.bundle == {"CPU": 1, "GPU": 1, "accelerator_type:L4": 0.001}
    assert share.label == "1 CPU and 1 GPU (L4)"
    kind = kind_of(stage)
    shares = Shares([{"CPU": 8.0, **large}, {"CPU": 8.0, **small}])
    assert (shares.of(stage), shares.at_once(stage)) == (share, 2)
    # What it needs on other cards does not matter.
    shares.measured(kind, Memory(20 * GB, 140 * GB, "NVIDIA H200"))
    shares.measured(kind, Memory(9 * GB, 24 * GB, "NVIDIA L4"))
    assert (shares.of(stage), shares.at_once(stage)) == (Share(1, 0.5, accelerator="L4"), 4)
    assert shares.of(training(generator_gpus=0, generator_accelerator="L4")) == Share(1, 0)


def test_room_is_looked_for_before_memory_was_measured(tiny_study: Callable[..., Study]) -> None:
    resources = tiny_study(shots=2, resources={"generator_workers": 2, "detector_cpus": 2}).resources
    assert Shares(MIXED).largest(resources) == {"generator": Share(1, 1, workers=2), "detector": Share(2, 1)}
    assert Shares([{"CPU": 2.0}]).largest(resources) == {"generator": Share(1, 0, workers=2), "detector": Share(2, 0)}


def test_each_stage_takes_what_its_own_studys_resources_say(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    """Two studies of one run that declare different resources."""
    resources = [{"generator_cpus": 2, "detector_cpus": 3, "detector_gpus": 0.5}, {"detections": 1}]
    studies = [
        tiny_study(name=name, seed=seed, resources=each)
        for seed, (name, each) in enumerate(zip(("one", "other"), resources, strict=True))
    ]
    plan, shares = plan_studies(studies, Options(str(tmp_path))), Shares([{"CPU": 8.0}])
    assert [shares.of(stage) for stage in plan.of(TrainingStage)] == [Share(2, 0), Share(1, 0)]
    cells = [plan.cells[plan.cells_of[study.name][0]] for study in studies]
    assert [shares.of(cell) for cell in cells] == [Share(3, 0.5), Share(1, 0)]
    assert shares.at_once(cells[1]) == 1
    assert {shares.of(stage) for kind in (ShardStage, PromptStage) for stage in plan.of(kind)} == {Share(1, 0)}


def test_memory_is_remembered_by_card_in_the_store(tmp_path: Path) -> None:
    store = Files(str(tmp_path))
    assert read_memory(store) == {}
    h200, l4 = Memory(3, 4, "NVIDIA H200"), Memory(2, 3, "NVIDIA L4")
    remember_memory(store, {"one": {h200.card: h200}, "other": {h200.card: h200}})
    remember_memory(store, {"one": {l4.card: l4}})
    assert read_memory(store) == {"one": {h200.card: h200, l4.card: l4}, "other": {h200.card: h200}}
    less = Memory(1, 4, "NVIDIA H200")
    remember_memory(store, {"one": {less.card: less}})
    assert read_memory(store)["one"] == {less.card: less, l4.card: l4}
    assert [*superfluous(store, timedelta())] == []
    (tmp_path / MEMORY_FILE).write_text('{"one": [3, 4]}')
    assert read_memory(store) == {}


def test_the_longer_training_is_expected_to_take_longer(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    plan = plan_studies([tiny_study(iterations=[4, 8])], Options(str(tmp_path)))
    (stage,) = plan.of(TrainingStage)
    image_sets = plan.of(ImageSetStage)
    shorter = [image_set for image_set in image_sets if image_set.iterations == 4]
    costs = {stage.step_kind("cpu"): Cost(6.0, 3), stage.image_kind("cpu"): Cost(3.0, 1)}
    # Seven updates, and two samples of each of four scored iterations.
    assert expected_seconds(stage, image_sets, "cpu", costs) == 2.0 * 7 + 3.0 * 2 * 4
    assert expected_seconds(stage, shorter, "cpu", costs) == 2.0 * 3 + 3.0 * 2 * 2
    assert expected_seconds(stage, image_sets, "cpu", {}) > expected_seconds(stage, shorter, "cpu", {}) > 0


def test_long_trainings_come_first_and_then_long_cells(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    detectors = [{"image_size": 64}, {"image_size": 128, "alias": "large"}]
    study = tiny_study(arms=["original", "generated"], iterations=[4, 8], detectors=detectors)
    plan, shares = plan_studies([study], Options(str(tmp_path))), Shares([{"CPU": 2.0}])
    costs = {
        work.kind: Cost(float(cell.cell.subject.image_size), 1.0)
        for cell in plan.cells.values()
        for work in cell.work([cell], "cpu")
    }
    ordered = [plan.cells[fingerprint] for fingerprint in longest_first(plan, plan.cells, shares, costs)]
    found = [(cell.cell.arm.name, cell.cell.subject.image_size) for cell in ordered]
    assert found == [("generated", 128)] * 2 + [("generated", 64)] * 2 + [("original", 128), ("original", 64)]
