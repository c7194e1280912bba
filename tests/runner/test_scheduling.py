"""What a stage takes of a node: declared, or measured memory as a share of a GPU; and how many fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runner.plan.costs import Cost, Memory, read_memory, remember_memory, step_cost
from runner.plan.plan import GeneratorStage
from runner.plan.scheduling import Share, Shares, expected_seconds
from runner.run.execute import plan_studies
from runner.run.options import Options
from runner.study.study import Resources, Study

GB = 2**30
MIXED = [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 32.0}, {"CPU": 3.0, "GPU": 1.0}]
"""A node with two GPUs, one without any, and a small one."""


@pytest.fixture
def stage(tiny_study: Callable[..., Study], tmp_path: Path) -> GeneratorStage:
    (found,) = plan_studies([tiny_study()], Options(str(tmp_path))).generators.values()
    return found


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


def test_without_a_gpu_everything_is_on_the_cpu(stage: GeneratorStage) -> None:
    shares = Shares(Resources(), [{"CPU": 4.0}])
    assert shares.generator(stage) == Share(1, 0)
    assert shares.generator(stage).device == "cpu"
    assert (shares.generators(stage), shares.detections()) == (4, 4)


def test_the_first_of_a_kind_has_a_gpu_of_its_own_and_the_next_what_it_needed(stage: GeneratorStage) -> None:
    shares = Shares(Resources(), MIXED)
    assert shares.generator(stage) == Share(1, 1)
    assert shares.generators(stage) == 3
    kind = step_cost(stage, "cuda")
    # 1.2 × 10 GB and the context's 0.6 GB of 80 GB: 0.157, rounded up to 0.2.
    shares.measured(kind, Memory(10 * GB, 80 * GB))
    assert shares.generator(stage) == Share(1, 0.2)
    assert shares.generators(stage) == 8 + 3
    # A smaller GPU elsewhere: what is safe on both.
    shares.measured(kind, Memory(4 * GB, 40 * GB))
    assert shares.generator(stage) == Share(1, 0.35)
    shares.measured(kind, Memory(70 * GB, 80 * GB))
    assert shares.generator(stage) == Share(1, 1)


def test_what_is_declared_holds_and_limits_are_kept(stage: GeneratorStage) -> None:
    shares = Shares(Resources(generator_gpus=0.25, generators=2), MIXED)
    shares.measured(step_cost(stage, "cuda"), Memory(10 * GB, 80 * GB))
    assert shares.generator(stage) == Share(1, 0.25)
    assert shares.generators(stage) == 2
    assert Shares(Resources(generators=9), [{"CPU": 2.0}]).generators(stage) == 2


def test_memory_is_remembered_for_the_next_run(
    stage: GeneratorStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOODSHOT_CACHE", str(tmp_path))
    assert read_memory() == {}
    remember_memory({"one": Memory(3, 4), "other": Memory(1, 4)})
    remember_memory({"one": Memory(2, 4)})
    assert read_memory() == {"one": Memory(2, 4), "other": Memory(1, 4)}


def test_the_longer_training_is_expected_to_take_longer(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    plan = plan_studies([tiny_study(vq_weight=[0.5, 1.0], iterations=[4, 8])], Options(str(tmp_path)))
    stage = next(iter(plan.generators.values()))
    assert expected_seconds(stage, "cpu", {step_cost(stage, "cpu"): Cost(6.0, 3)}) == 2.0 * 8
    assert expected_seconds(stage, "cpu", {}) > 0
