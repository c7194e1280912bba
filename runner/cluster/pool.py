"""The generator actors of a run: as many at once as the nodes have room for, each on one category at a time."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import ray
from ray.exceptions import RayActorError

from components.errors import GoodshotError
from runner.cluster.actors import Made
from runner.plan.plan import GeneratorStage, VQGANClipStage

Stage = GeneratorStage | VQGANClipStage

LINGER_SECONDS = 20.0
"""An actor without work stays, with its generators and all that it has imported, as long as nothing needs its place."""
LOOK_SECONDS = 0.5


class Placing(Protocol):
    """How the pool's actors come to be, and when they have to go."""

    def start(self, stage: Stage, node: str | None) -> Any:
        """A fresh actor for a stage; on that node if it has room."""

    def suits(self, actor: Any, stage: Stage) -> bool:
        """Whether an actor that worked on something else holds what this stage needs."""

    def slots(self, stage: Stage) -> int:
        """How many actors work on stages like this one at once."""

    def seconds(self, stage: Stage) -> float:
        """What a stage is expected to take."""

    def is_wanted(self) -> bool:
        """Whether something waits for what an idle actor holds."""


@dataclass
class Waiting:
    """A stage that waits for an actor, with its originals (a reference)."""

    stage: Stage
    originals: Any
    seconds: float
    done: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class GeneratorPool:
    """Hands generator stages to actors, the longest first.

    A slot stays with its category while that has stages, because its actor has the originals and the encoder at hand;
    then it takes over the category with the most work, with a fresh actor, on the node that had the category before. A
    slot without work gives its actor, and with it the CPU, back to the stages that wait for one: all its state is in
    the store.
    """

    def __init__(self, placing: Placing, linger_seconds: float = LINGER_SECONDS) -> None:
        self._placing, self._linger_seconds = placing, linger_seconds
        self._queues: defaultdict[str, list[Waiting]] = defaultdict(list)
        self._working: set[asyncio.Task[None] | None] = set()
        self._idle: set[asyncio.Task[None] | None] = set()
        self._busy: dict[int, Any] = {}
        self._nodes: dict[str, str] = {}
        self._arrived = asyncio.Event()

    @property
    def size(self) -> int:
        """Actors that hold a place now, idle ones too."""
        return len(self._working)

    async def make(self, stage: Stage, originals: Any, broker: Any) -> int:
        """Run one stage on its originals (a reference). Returns the steps executed; raises what the stage raised."""
        waiting = Waiting(stage, originals, self._placing.seconds(stage))
        queue = self._queues[stage.support.shard]
        queue.append(waiting)
        queue.sort(key=lambda each: each.seconds, reverse=True)
        self._arrived.set()
        # Idle slots take up one each.
        waiting_now = sum(map(len, self._queues.values()))
        if waiting_now > len(self._idle) and len(self._working) < self._placing.slots(stage):
            self._working.add(asyncio.create_task(self._work(broker)))
        return await waiting.done

    def stop(self, stage: Stage) -> None:
        """Stop working on a stage: the actor that does is killed, one that waits is not begun."""
        if (actor := self._busy.get(id(stage))) is not None:
            _stop(actor)
        queue = self._queues[stage.support.shard]
        for waiting in [w for w in queue if w.stage is stage]:
            queue.remove(waiting)
            waiting.done.set_exception(GoodshotError("stopped before it began"))

    async def _work(self, broker: Any) -> None:
        """One slot: stage after stage until no queue has any."""
        actor, category = None, ""
        while (queue := self._next_queue(category)) or await self._lingered(actor):
            if not (queue := queue or self._next_queue(category)):
                continue
            waiting = queue.pop(0)
            stage = waiting.stage
            try:
                if actor is None or stage.support.shard != category or not self._placing.suits(actor, stage):
                    _stop(actor)
                    actor, category = None, stage.support.shard
                    actor = self._placing.start(stage, self._nodes.get(category))
                self._busy[id(stage)] = actor
                made: Made = await actor.make.remote(stage, waiting.originals, broker)
                self._nodes[category] = made.node
                waiting.done.set_result(made.steps)
            except Exception as error:
                waiting.done.set_exception(error)
                if isinstance(error, RayActorError):
                    # Gone for good: the next stage must not fail for this one's sake.
                    actor = None
            finally:
                self._busy.pop(id(stage), None)
        # In the same breath as finding nothing to do: a stage that comes later must find the slot free.
        self._working.discard(asyncio.current_task())
        _stop(actor)

    async def _lingered(self, actor: Any) -> bool:
        """Wait with an idle actor for more work. False once there is none for long, or its place is wanted."""
        if actor is None:
            return False
        ends = asyncio.get_running_loop().time() + self._linger_seconds
        self._idle.add(asyncio.current_task())
        try:
            while asyncio.get_running_loop().time() < ends and not self._placing.is_wanted():
                if any(self._queues.values()):
                    return True
                self._arrived.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._arrived.wait(), LOOK_SECONDS)
        finally:
            self._idle.discard(asyncio.current_task())
        return any(self._queues.values())

    def _next_queue(self, category: str) -> list[Waiting] | None:
        if self._queues[category]:
            return self._queues[category]
        return max(self._queues.values(), key=lambda queue: sum(each.seconds for each in queue)) or None


def _stop(actor: Any) -> None:
    if actor is not None:
        ray.kill(actor)
