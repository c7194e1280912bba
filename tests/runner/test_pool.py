"""The generator pool: who gets a place, for how long, in what order; one stage's dead actor is not the next one's."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import ray
from rich.console import Console

from components.errors import BadInput, GoodshotError
from runner.cluster.actors import Made
from runner.cluster.connection import cluster
from runner.cluster.pool import GeneratorPool
from runner.plan.plan import GeneratorStage
from runner.run.execute import plan_studies, run_studies
from runner.run.options import Options
from runner.study.study import Study


@ray.remote(num_cpus=0)
class Worker:
    """Does nothing but say who it is; a seed of 666 ends its process."""

    def make(self, stage: Any, originals: Any, broker: Any) -> Made:
        if stage.seed == 666:
            os._exit(1)
        time.sleep(0.1)
        return Made(os.getpid(), ray.get_runtime_context().get_node_id())


@dataclass
class Place:
    """A cluster with room for so many actors."""

    room: int = 1
    wanted: bool = False
    started: list[tuple[int, str | None]] = field(default_factory=list)

    def start(self, stage: Any, node: str | None) -> Any:
        self.started.append((stage.seed, node))
        return Worker.remote()

    def suits(self, actor: Any, stage: Any) -> bool:
        return True

    def slots(self, stage: Any) -> int:
        return self.room

    def seconds(self, stage: Any) -> float:
        return float(stage.seed)

    def is_wanted(self) -> bool:
        return self.wanted


@pytest.fixture
def stage(tiny_study: Callable[..., Study], tmp_path: Path) -> GeneratorStage:
    (found,) = plan_studies([tiny_study()], Options(str(tmp_path))).generators.values()
    return found


async def all_of(pool: GeneratorPool, stage: GeneratorStage, *seeds: int) -> list[Any]:
    stages = [replace(stage, seed=seed) for seed in seeds]
    return await asyncio.gather(*(pool.make(s, [], None) for s in stages), return_exceptions=True)


def of(stage: GeneratorStage, category: str) -> GeneratorStage:
    return replace(stage, support=replace(stage.support, shard=category))


def test_places_are_kept_shared_and_given_back(stage: GeneratorStage) -> None:
    """One Ray for all of them: it takes seconds to start."""
    with cluster(None, 1):
        asyncio.run(a_dead_actor_is_replaced_and_one_that_cannot_start_is_an_error(stage))
        asyncio.run(an_idle_actor_takes_what_comes_later(stage))
        asyncio.run(an_idle_actor_goes_when_its_place_is_wanted(stage))
        asyncio.run(the_longest_comes_first_and_a_category_stays_where_it_was(stage))
        asyncio.run(one_that_is_stopped_before_it_began_fails_like_any_other(stage))


async def a_dead_actor_is_replaced_and_one_that_cannot_start_is_an_error(stage: GeneratorStage) -> None:
    place = Place()
    first, second, third = await all_of(GeneratorPool(place), stage, 3, 666, 1)
    assert isinstance(second, ray.exceptions.RayActorError)
    assert (place.started[0][0], len(place.started)) == (666, 2)
    assert first == third

    def refuse(stage: Any, node: str | None) -> Any:
        raise GoodshotError("no actor today")

    place.start = refuse  # type: ignore[method-assign]
    assert all("no actor today" in str(e) for e in await all_of(GeneratorPool(place), stage, 1, 2))


async def an_idle_actor_takes_what_comes_later(stage: GeneratorStage) -> None:
    place = Place(room=2)
    pool = GeneratorPool(place)
    (first,) = await all_of(pool, stage, 1)
    (later,) = await all_of(pool, stage, 2)
    assert first == later
    assert len({*await all_of(pool, stage, 1, 2, 3)}) == 2
    assert len(place.started) == 2


async def an_idle_actor_goes_when_its_place_is_wanted(stage: GeneratorStage) -> None:
    place = Place()
    pool = GeneratorPool(place)
    (first,) = await all_of(pool, stage, 1)
    assert pool.size == 1
    place.wanted = True
    while pool.size:
        await asyncio.sleep(0.1)
    (later,) = await all_of(pool, stage, 1)
    assert first != later


async def the_longest_comes_first_and_a_category_stays_where_it_was(stage: GeneratorStage) -> None:
    place = Place(wanted=True)
    pool = GeneratorPool(place)
    work = [(of(stage, "small"), 1), (of(stage, "large"), 5), (of(stage, "large"), 7), (of(stage, "small"), 2)]
    await asyncio.gather(*(pool.make(replace(each, seed=seconds), [], None) for each, seconds in work))
    # The first is under way before the others are known.
    assert [seed for seed, _ in place.started] in ([1, 7], [7, 2])
    await all_of(pool, of(stage, "large"), 1)
    assert place.started[-1] == (1, ray.get_runtime_context().get_node_id())


async def one_that_is_stopped_before_it_began_fails_like_any_other(stage: GeneratorStage) -> None:
    pool = GeneratorPool(Place())
    first, second = replace(stage, seed=2), replace(stage, seed=1)
    made = [asyncio.ensure_future(pool.make(each, [], None)) for each in (first, second)]
    await asyncio.sleep(0)
    pool.stop(second)
    pool.stop(second)
    with pytest.raises(GoodshotError, match="stopped before it began"):
        await made[1]
    assert await made[0]


def test_a_stage_that_no_node_has_room_for_is_refused(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    study = tiny_study(resources={"generator_cpus": 4096})
    with pytest.raises(BadInput, match=r"a generator asks for 4096 CPUs .* lower resources\.generator_cpus"):
        run_studies([study], Options(str(tmp_path), cpus=1), Console())
