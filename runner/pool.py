"""The generator actors of a run: as many at once as the cluster has room for, each on one category at a time."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayActorError

from runner.plan import GeneratorStage, VQGANClipStage

Stage = GeneratorStage | VQGANClipStage
Waiting = tuple[Stage, Any, "asyncio.Future[int]"]


class GeneratorPool:
    """Hands generator stages to actors.

    A slot stays with its category while that has stages, because its actor has the originals and the encoder at hand;
    then it takes over the category with the longest queue, with a fresh actor. A slot without work gives its actor,
    and with it the CPU, back to the stages that wait for one: all its state is in the store.

    Args:
        slots: actors at once.
        start: starts an actor.
    """

    def __init__(self, slots: int, start: Callable[[], Any]) -> None:
        self._slots, self._start = max(1, slots), start
        self._queues: defaultdict[str, deque[Waiting]] = defaultdict(deque)
        self._working: set[asyncio.Task[None] | None] = set()
        self._busy: dict[int, Any] = {}

    async def make(self, stage: Stage, originals: Any, broker: Any) -> int:
        """Run one stage on its originals (a reference). Returns the steps executed; raises what the stage raised."""
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queues[stage.support.shard].append((stage, originals, done))
        if len(self._working) < self._slots:
            self._working.add(asyncio.create_task(self._work(broker)))
        return await done

    def stop(self, stage: Stage) -> None:
        """Stop working on a stage: the actor that does is killed, one that waits is not begun."""
        if (actor := self._busy.get(id(stage))) is not None:
            _stop(actor)
        queue = self._queues[stage.support.shard]
        for waiting in [w for w in queue if w[0] is stage]:
            queue.remove(waiting)
            waiting[2].cancel()

    async def _work(self, broker: Any) -> None:
        """One slot: stage after stage until no queue has any."""
        actor, category = None, ""
        while queue := self._next_queue(category):
            stage, originals, done = queue.popleft()
            try:
                if actor is None or stage.support.shard != category:
                    _stop(actor)
                    actor, category = None, stage.support.shard
                    actor = self._start()
                self._busy[id(stage)] = actor
                done.set_result(await actor.make.remote(stage, originals, broker))
            except Exception as error:
                done.set_exception(error)
                if isinstance(error, RayActorError):
                    # Gone for good: the next stage must not fail for this one's sake.
                    actor = None
            finally:
                self._busy.pop(id(stage), None)
        # In the same breath as finding nothing to do: a stage that comes later must find the slot free.
        self._working.discard(asyncio.current_task())
        _stop(actor)

    def _next_queue(self, category: str) -> deque[Waiting] | None:
        if self._queues[category]:
            return self._queues[category]
        return max(self._queues.values(), key=len) or None


def _stop(actor: Any) -> None:
    if actor is not None:
        ray.kill(actor)
