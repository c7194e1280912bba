"""The stages that cells stand on, each made once: whoever asks for one that is under way waits for that flight."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from runner.cluster.actors import GeneratorActor
from runner.cluster.connection import tasks
from runner.cluster.decoded import DecodedImages
from runner.cluster.leased import LeasedWork, UnderLease
from runner.cluster.pool import GeneratorPool
from runner.console.progress import Progress
from runner.plan.costs import Costs
from runner.plan.plan import GeneratorStage, ImageSetStage, Plan, PlannedCell, PromptStage, VQGANClipStage
from runner.plan.scheduling import Share, Shares, expected_seconds
from runner.stages.variation import VariationStage
from runner.store.artifacts import Store


class Flights:
    """Makes shards, prompts, variance heads and image sets that the store does not hold yet.

    A stage that failed stays failed for the run: the cells that stand on it fail at once.

    Args:
        shares: what a stage takes of a node.
    """

    def __init__(
        self,
        plan: Plan,
        store_uri: str,
        shares: Shares,
        decoded: DecodedImages,
        work: LeasedWork,
        progress: Progress,
        costs: Costs,
    ) -> None:
        self.plan, self.store, self.shares = plan, Store(store_uri), shares
        self._decoded, self._work, self.progress = decoded, work, progress
        self._pool = GeneratorPool(self)
        self.tasks = 0
        """Ray tasks under way for stages and cells; each wants a place on a node."""
        self._flights: dict[str, asyncio.Future[Any]] = {}
        self._wanted: defaultdict[str, set[str]] = defaultdict(set)
        self._there: set[str] = set()
        """Image sets that are in the store, as far as was looked: a look costs a request on an object store."""
        self._expected: dict[str, int] = {}
        self._left: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._held: WeakKeyDictionary[Any, Share] = WeakKeyDictionary()
        self._costs = costs

    async def once(self, key: str, make: Callable[[], Awaitable[Any]]) -> Any:
        """What ``make`` returns, called once for a key."""
        if key not in self._flights:
            self._flights[key] = asyncio.ensure_future(make())
        return await asyncio.shield(self._flights[key])

    def forget(self, key: str) -> None:
        """What was made is known elsewhere; it takes no place here any more."""
        self._flights.pop(key, None)

    def want(self, cells: Iterable[PlannedCell]) -> None:
        """These cells will be asked for: a generator goes on to the furthest L among them, and no further."""
        flights = set()
        for planned in cells:
            if planned.generator is None:
                continue
            key = self._trained_set(planned)
            if key not in self._wanted[planned.generator] and self.store.has(key):
                self._there.add(key)
            self._wanted[planned.generator].add(key)
            flights.add(planned.generator)
        for flight in flights:
            missing = [s.iterations for s in self._wanted_sets(flight) if s.key not in self._there]
            steps = max(missing, default=1) - 1
            self.progress.steps_total += max(0, steps - self._expected.get(flight, 0))
            self._expected[flight] = max(steps, self._expected.get(flight, 0))

    def left(self, image_set: str) -> None:
        """An image set is in the store, whose training may go on."""
        self._there.add(image_set)
        self._left[image_set].set()

    async def before(self, planned: PlannedCell) -> None:
        """Make the stages that a cell stands on, in order."""
        shard = planned.support.shard
        await self.once(shard, lambda: self._shard(shard))
        if planned.prompt is not None:
            prompt = self.plan.prompts[planned.prompt]
            await self.once(prompt.key, lambda: self._prompt(prompt))
        clip = self.plan.vqgan_clip.get(planned.image_set or "")
        training = self.plan.generators.get(planned.generator or "") or (clip.training if clip else None)
        if training is not None and (variation := training.variation) is not None:
            await self.once(variation.key, lambda: self._variation(variation))
        if planned.generator is not None:
            await self._image_set(planned.generator, self._trained_set(planned))
        if clip is not None:
            await self.once(clip.key, lambda: self._vqgan_clip(clip))

    async def _stage(self, key: str, kind: str, start: Callable[[], Any]) -> None:
        """A stage of one Ray task, unless the store has its artifact."""

        async def make(lease: UnderLease) -> None:
            await self.task(lease, start())
            self.progress.executed[kind] += 1

        # A store that others only read has no place for leases.
        if not self.store.has(key):
            await self._work.make(self._work.stages, key, lambda: self.store.has(key), make)

    async def _shard(self, key: str) -> None:
        category = self.plan.category(key)
        await self._stage(
            key, "shard", lambda: tasks.make_shards.remote(category.samples, key, self.store.uri, category.source)
        )

    async def _prompt(self, stage: PromptStage) -> None:
        await self._stage(
            stage.key,
            "prompt",
            lambda: tasks.rank_prompts.remote(stage, self._decoded.support(stage.support), self.store.uri),
        )

    async def _variation(self, stage: VariationStage) -> None:
        if self.store.has(stage.key):
            return
        await asyncio.gather(*(self.once(s.shard, partial(self._shard, s.shard)) for s in stage.sources))
        await self._stage(stage.key, "variation", lambda: tasks.make_variation.remote(stage, self.store.uri))

    def _trained_set(self, planned: PlannedCell) -> str:
        """The image set that a cell needs of its training: VQGAN-CLIP's own is made of the network behind it."""
        clip = self.plan.vqgan_clip.get(planned.image_set or "")
        return clip.training.image_sets[0].key if clip else str(planned.image_set)

    def _wanted_sets(self, flight: str) -> list[ImageSetStage]:
        return [s for s in self.plan.generators[flight].image_sets if s.key in self._wanted[flight]]

    async def _image_set(self, flight: str, key: str) -> None:
        """One image set of a training, as soon as it is there: the flight may go on to a larger L.

        One that was under way before the set was wanted may stop short of it; then there is another.
        """
        while key not in self._there:
            training = asyncio.ensure_future(self.once(flight, lambda: self._generator(flight)))
            left = asyncio.ensure_future(self._left[key].wait())
            await asyncio.wait({training, left}, return_when=asyncio.FIRST_COMPLETED)
            left.cancel()
            if training.done():
                training.result()
            training.cancel()

    async def _generator(self, flight: str) -> None:
        """Leave all image sets that are wanted of a training by now; when more are, it is extended."""
        stage = replace(self.plan.generators[flight], image_sets=tuple(self._wanted_sets(flight)))
        await self._pooled(stage, flight, "generator", lambda: all(self.store.has(s.key) for s in stage.image_sets))
        self._there.update(s.key for s in stage.image_sets)
        del self._flights[flight]

    async def _vqgan_clip(self, stage: VQGANClipStage) -> None:
        await self._pooled(stage, stage.key, "vqgan_clip", lambda: self.store.has(stage.key))

    async def _pooled(
        self, stage: GeneratorStage | VQGANClipStage, key: str, kind: str, done: Callable[[], bool]
    ) -> None:
        """A stage of a generator actor, unless what is wanted of it is in the store."""

        async def make(lease: UnderLease) -> None:
            originals = self._decoded.support(stage.support)
            lease.stop = lambda: self._pool.stop(stage)
            await self._pool.make(stage, originals, ray.get_runtime_context().current_actor)
            self.progress.executed[kind] += 1

        if not done():
            await self._work.make(self._work.stages, key, done, make)

    async def task(self, lease: UnderLease, reference: Any) -> Any:
        """What a Ray task returns; as long as it waits for a place, idle actors give theirs away."""
        self.tasks += 1
        try:
            return await lease.task(reference)
        finally:
            self.tasks -= 1

    # How the pool's actors come to be, and when they have to go (`runner.cluster.pool.Placing`).

    def start(self, stage: GeneratorStage | VQGANClipStage, node: str | None) -> Any:
        """A fresh actor with the stage's share of a node, where its category was before if there is room."""
        share = self.shares.generator(stage)
        where = NodeAffinitySchedulingStrategy(node, soft=True, _spill_on_unavailable=True) if node else "DEFAULT"
        options = {"num_cpus": share.cpus, "num_gpus": share.gpus, "scheduling_strategy": where}
        actor = GeneratorActor.options(**options).remote(self.store.uri, share.device, share.threads)
        self._held[actor] = share
        return actor

    def suits(self, actor: Any, stage: GeneratorStage | VQGANClipStage) -> bool:
        """Whether the actor's share of a GPU is enough."""
        return bool(self._held[actor].gpus >= self.shares.generator(stage).gpus)

    def slots(self, stage: GeneratorStage | VQGANClipStage) -> int:
        """How many trainings like this run at once."""
        return self.shares.generators(stage)

    def seconds(self, stage: GeneratorStage | VQGANClipStage) -> float:
        """What the training is expected to take."""
        return expected_seconds(stage, self.shares.generator(stage).device, {**self._costs, **self.progress.costs})

    def is_wanted(self) -> bool:
        """Whether more tasks and actors want a CPU than there are."""
        resources = self.shares.resources
        cpus = self.tasks * resources.detector_cpus + self._pool.size * resources.generator_cpus
        return cpus > sum(node.get("CPU", 0) for node in self.shares.nodes)
