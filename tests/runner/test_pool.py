"""The generator pool: one stage's dead actor is not the next one's."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from components.errors import BadInput, GoodshotError
from runner.execute import plan_studies, run_studies
from runner.run import Options
from runner.study import Study


def test_a_dead_actor_is_replaced_and_one_that_cannot_start_is_an_error(
    tiny_study: Callable[..., Study], tmp_path: Path
) -> None:
    plan = plan_studies([tiny_study()], Options(str(tmp_path)))
    (stage,) = plan.generators.values()

    from runner.cluster import cluster

    with cluster(None, 1):
        import ray

        from runner.pool import GeneratorPool

        @ray.remote(num_cpus=0)
        class Fragile:
            def make(self, stage: Any, originals: Any, broker: Any) -> int:
                if stage.seed == 666:
                    os._exit(1)
                return int(stage.seed)

        async def all_of(pool: GeneratorPool, *seeds: int) -> list[Any]:
            stages = [replace(stage, seed=seed) for seed in seeds]
            return await asyncio.gather(*(pool.make(s, [], None) for s in stages), return_exceptions=True)

        async def run() -> None:
            first, second, third = await all_of(GeneratorPool(1, lambda: Fragile.remote()), 1, 666, 3)
            assert (first, third) == (1, 3)
            assert isinstance(second, ray.exceptions.RayActorError)

            def refuse() -> Any:
                raise GoodshotError("no actor today")

            assert all("no actor today" in str(e) for e in await all_of(GeneratorPool(1, refuse), 1, 2))

        asyncio.run(run())


def test_a_stage_that_no_node_has_room_for_is_refused(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    study = tiny_study(resources={"generator_cpus": 4096})
    with pytest.raises(BadInput, match=r"a generator asks for 4096 CPUs .* lower resources\.generator_cpus"):
        run_studies([study], Options(str(tmp_path), cpus=1), Console())
