"""The actor pool: who gets a place, for how long, in what order; one stage's dead actor is not the next one's."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from rich.console import Console

from goodshot.components.errors import BadInput, GoodshotError
from goodshot.runner.cluster.pool import ActorPool
from goodshot.runner.cluster.stages import StageMaker
from goodshot.runner.cluster.worker import Job, JobReport
from goodshot.runner.plan.scheduling import Share
from goodshot.runner.run.execute import plan_studies, run_studies
from goodshot.runner.run.options import Options
from goodshot.runner.stages.training import TrainingStage
from goodshot.runner.study.study import Study

SHARES_RAY = True


def seed_of(job: Job) -> int:
    """The seed of the training that is to be run: here it is the seconds that are expected of it too."""
    assert isinstance(job.stage, TrainingStage)
    return job.stage.seed


class Worker:
    """Does nothing but say who it is; a seed of 666 ends its process."""

    def run(self, job: Job) -> JobReport:
        if seed_of(job) == 666:
            os._exit(1)
        time.sleep(0.1)
        return JobReport(ray.get_runtime_context().get_node_id(), outcome={"process": os.getpid()})


@dataclass
class Place:
    """A cluster with room for so many actors."""

    room: int = 1
    wanted: bool = False
    drained: bool = False
    started: list[tuple[int, str | None]] = field(default_factory=list)

    def start(self, job: Job, node: str | None) -> Any:
        self.started.append((seed_of(job), node))
        return ray.remote(num_cpus=0)(Worker).remote()

    def suits(self, actor: Any, job: Job) -> bool:
        return True

    def leaves(self, node: str) -> bool:
        return self.drained

    def slots(self, job: Job) -> int:
        return self.room

    def seconds(self, job: Job) -> float:
        return float(seed_of(job))

    def run_in(self, actor: Any, job: Job) -> Any:
        return actor.run.remote(job)

    def is_wanted(self) -> bool:
        return self.wanted


@pytest.fixture
def stage(tiny_study: Callable[..., Study], tmp_path: Path) -> TrainingStage:
    (found,) = plan_studies([tiny_study()], Options(str(tmp_path))).of(TrainingStage)
    return found


def job(stage: TrainingStage, seed: int) -> Job:
    return Job(replace(stage, seed=seed), (), Share(1, 0))


async def all_of(pool: ActorPool, stage: TrainingStage, *seeds: int) -> list[Any]:
    """What each training ended with: the process that ran it, or its error."""
    found = await asyncio.gather(*(pool.run(job(stage, seed)) for seed in seeds), return_exceptions=True)
    return [(each.outcome or {})["process"] if isinstance(each, JobReport) else each for each in found]


def on_an_event_loop(test: Callable[[TrainingStage], Coroutine[Any, Any, None]]) -> Callable[[TrainingStage], None]:
    @wraps(test)
    def run(stage: TrainingStage) -> None:
        asyncio.run(test(stage))

    return run


def of(stage: TrainingStage, category: str) -> TrainingStage:
    return replace(stage, support=replace(stage.support, shard=category))


@on_an_event_loop
async def test_a_dead_actor_is_replaced_and_one_that_cannot_start_is_an_error(stage: TrainingStage) -> None:
    place = Place()
    first, second, third = await all_of(ActorPool(place), stage, 3, 666, 1)
    assert isinstance(second, ray.exceptions.RayActorError)
    assert (place.started[0][0], len(place.started)) == (666, 2)
    assert first == third

    def refuse(job: Job, node: str | None) -> Any:
        raise GoodshotError("no actor today")

    place.start = refuse  # type: ignore[method-assign]
    assert all("no actor today" in str(e) for e in await all_of(ActorPool(place), stage, 1, 2))


@on_an_event_loop
@pytest.mark.slow
async def test_an_idle_actor_takes_what_comes_later(stage: TrainingStage) -> None:
    place = Place(room=2)
    pool = ActorPool(place)
    (first,) = await all_of(pool, stage, 1)
    (later,) = await all_of(pool, stage, 2)
    assert first == later
    assert len({*await all_of(pool, stage, 1, 2, 3)}) == 2
    assert len(place.started) == 2


@on_an_event_loop
async def test_an_idle_actor_goes_when_its_place_is_wanted(stage: TrainingStage) -> None:
    place = Place()
    pool = ActorPool(place)
    (first,) = await all_of(pool, stage, 1)
    assert pool.size == 1
    place.wanted = True
    while pool.size:
        await asyncio.sleep(0.1)
    (later,) = await all_of(pool, stage, 1)
    assert first != later


@on_an_event_loop
async def test_a_node_that_is_drained_gets_no_further_job(stage: TrainingStage) -> None:
    place = Place(drained=True)
    first, second = await all_of(ActorPool(place), stage, 2, 1)
    assert first != second
    # Not on the node of the first.
    assert [node for _, node in place.started] == [None, None]


@on_an_event_loop
async def test_slots_follow_the_room(stage: TrainingStage) -> None:
    place = Place(room=1)
    pool = ActorPool(place)
    made = [asyncio.create_task(pool.run(job(stage, seed))) for seed in (4, 3, 2, 1)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (pool.size, len(pool.running), len(pool.queued)) == (1, 1, 3)
    place.room = 3
    pool.fill()
    pool.fill()
    await asyncio.sleep(0)
    assert (pool.size, len(pool.running), len(pool.queued)) == (3, 3, 1)
    place.room = 1
    await asyncio.gather(*made)
    assert pool.size == 1
    assert len(place.started) == 3


@on_an_event_loop
@pytest.mark.slow
async def test_an_error_of_the_placement_leaves_no_slot_behind(stage: TrainingStage) -> None:
    place = Place()
    pool = ActorPool(place)
    place.is_wanted = lambda: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    (first,) = await all_of(pool, stage, 1)
    while pool.size:
        await asyncio.sleep(0.1)
    (later,) = await all_of(pool, stage, 1)
    assert first != later


@pytest.mark.parametrize(
    ("actors", "tasks", "is_wanted"),
    [
        (1, [], False),
        (1, [(1, 5)], False),
        (1, [(1, 4), (1, 4)], False),  # eight seconds of work for the other CPU
        (1, [(1, 8), (1, 8)], True),
        (1, [(2, 1)], True),  # never fits beside the actor
        (2, [(1, 1)], True),
        (3, [], True),  # another actor waits for room
    ],
)
def test_an_actor_is_kept_for_work_that_is_done_before_another_had_started(
    actors: float, tasks: list[tuple[float, float]], is_wanted: bool
) -> None:
    maker = SimpleNamespace(
        shares=SimpleNamespace(nodes=[{"CPU": 2}]),
        _pools={None: SimpleNamespace(cpus=actors)},
        tasks=dict(enumerate(tasks)),
    )
    assert StageMaker.is_wanted(maker) == is_wanted  # type: ignore[arg-type]


@on_an_event_loop
async def test_the_longest_comes_first_and_a_category_stays_where_it_was(stage: TrainingStage) -> None:
    place = Place(wanted=True)
    pool = ActorPool(place)
    work = [(of(stage, "small"), 1), (of(stage, "large"), 5), (of(stage, "large"), 7), (of(stage, "small"), 2)]
    await asyncio.gather(*(pool.run(job(each, seconds)) for each, seconds in work))
    # The first is under way before the others are known.
    assert [seed for seed, _ in place.started] in ([1, 7], [7, 2])
    await all_of(pool, of(stage, "large"), 1)
    assert place.started[-1] == (1, ray.get_runtime_context().get_node_id())


@on_an_event_loop
@pytest.mark.slow
async def test_a_job_that_is_stopped_before_it_began_fails_like_any_other(stage: TrainingStage) -> None:
    pool = ActorPool(Place())
    first, second = job(stage, 2), job(stage, 1)
    made = [asyncio.ensure_future(pool.run(each)) for each in (first, second)]
    await asyncio.sleep(0)
    pool.stop(second)
    pool.stop(second)
    with pytest.raises(GoodshotError, match="stopped before it began"):
        await made[1]
    assert await made[0]


def test_a_stage_that_no_node_has_room_for_is_refused(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    study = tiny_study(resources={"generator_cpus": 4096})
    with pytest.raises(BadInput, match=r"a generator asks for 4096 CPUs, .* lower resources\.generator_cpus"):
        run_studies([study], Options(str(tmp_path), cpus=1), Console())
