"""Decide the CPUs and GPUs of each stage, and how many stages run at once.

CPUs are declared by the study. GPUs are declared too, or follow from measured memory: as many stages share a GPU as fit
into its memory. A stage is expected to need the memory that stages with the same kind of work needed before, on this
machine or earlier in the same run. The first stage of a kind reserves a whole GPU.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from goodshot.runner.declaration.resources import Resources
from goodshot.runner.plan.plan import Plan
from goodshot.runner.stages.base import Stage
from goodshot.runner.stages.costs import Costs, Memories, Memory, device_of

CONTEXT_BYTES = 600 * 2**20
"""The GPU memory that a process needs in addition to torch's reservation."""
SPARE = 1.2
"""Factor on the measured memory: the next stage may need a little more, and all stages on a full GPU fail."""
STEPS_OF_A_GPU = 20
"""A fraction of a GPU is rounded up to a multiple of 1/20, so that equal fractions fill a GPU."""
TYPE_OF_GPU = "accelerator_type:"
"""The beginning of the resource by which Ray names the type of a node's GPUs, for example ``accelerator_type:H200``."""
A_LITTLE = 0.001
"""The amount of a node's GPU-type resource that a process reserves; small, so that many processes can share it."""
UNKNOWN_UNIT_SECONDS = 0.02
"""The assumed seconds of a unit of work that was never measured; to score an image takes 0.002 to 0.1."""


@dataclass(frozen=True)
class Share:
    """The CPUs and GPUs that one stage reserves on a node.

    workers: the number of additional processes that train together, each of which reserves the same again.
    accelerator: Ray's name of the type of GPU; None for any, and without a GPU.
    """

    cpus: float
    gpus: float
    workers: int = 0
    accelerator: str | None = None

    @property
    def device(self) -> str:
        """``cuda`` or ``cpu``."""
        return device_of(self.gpus)

    @property
    def threads(self) -> int:
        """The number of CPU threads of each process."""
        return max(1, int(self.cpus))

    @property
    def bundle(self) -> dict[str, float]:
        """The resources of one node that such a stage needs, by Ray's names."""
        count = 1 + self.workers
        gpus = {"GPU": self.gpus * count} if self.gpus else {}
        return {"CPU": self.cpus * count, **gpus, **self._types}

    @property
    def options(self) -> dict[str, Any]:
        """The options by which Ray reserves the share for one process."""
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, "resources": self._types}

    @property
    def _types(self) -> dict[str, float]:
        return {f"{TYPE_OF_GPU}{self.accelerator}": A_LITTLE} if self.accelerator else {}

    @property
    def label(self) -> str:
        """The share as text, for example ``1 CPU and 0.5 GPUs``."""
        amounts = ((amount, name) for name, amount in self.bundle.items() if name in ("CPU", "GPU"))
        words = " and ".join(f"{amount:g} {name}{'s' * (amount != 1)}" for amount, name in amounts)
        return f"{words} ({self.accelerator})" if self.accelerator else words

    def fits(self, nodes: Iterable[Mapping[str, float]]) -> int:
        """Return how many stages with this share fit on nodes with these resources; a stage never spans two nodes."""
        return sum(self._fit_on(node) // (1 + self.workers) for node in nodes)

    def _fit_on(self, node: Mapping[str, float]) -> int:
        by_cpu = node.get("CPU", 0) / self.cpus
        by_gpu = node.get("GPU", 0) / self.gpus if self.gpus else math.inf
        if 0 < self.gpus < 1:
            # A process cannot combine fractions of different GPUs.
            by_gpu = node.get("GPU", 0) * int(1 / self.gpus + 1e-9)
        if not node.keys() >= self._types.keys():
            return 0
        return int(min(by_cpu, by_gpu) + 1e-9)


@dataclass
class Shares:
    """Computes the share of a node that each stage reserves.

    Args:
        nodes: the numbers of ``CPU`` and ``GPU`` of each node. They may be replaced during a run.
        memory: the measured GPU memory, by kind of work and card.
        excluded: Ray ids of nodes that must get no work; they are not among ``nodes``.
        unchecked: Ray ids of nodes that get no work until they are found sound.
    """

    nodes: list[dict[str, float]]
    memory: Memories = field(default_factory=dict)
    excluded: frozenset[str] = frozenset()
    unchecked: frozenset[str] = frozenset()
    _had_gpus: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._cards = {m.card: m.total for by_card in self.memory.values() for m in by_card.values() if m.card}
        """The total memory of the GPUs on which stages were measured, by torch's name of the card."""

    @property
    def placement(self) -> dict[str, Any]:
        """The options by which Ray places each task and actor on a node that is not excluded."""
        if not (shunned := self.excluded | self.unchecked):
            return {}
        return {"label_selector": {"ray.io/node-id": f"!in({','.join(sorted(shunned))})"}}

    @property
    def has_gpus(self) -> bool:
        """Whether any node has a GPU, or had a GPU earlier in this run.

        If the last GPU is lost, the run waits for another GPU, because on CPUs it might take weeks.
        """
        self._had_gpus = self._had_gpus or any(node.get("GPU", 0) for node in self.nodes)
        return self._had_gpus

    def of(self, stage: Stage) -> Share:
        """Return the share that a stage reserves according to its study's resources."""
        return self._reserved(stage.takes, stage.resources, stage.memory_kind(), stage.is_generator)

    def largest(self, resources: Resources) -> dict[str, Share]:
        """Return the largest share of a study's generator and detector stages: that before a GPU memory measurement."""
        return {takes: self._reserved(takes, resources, "", True) for takes in ("generator", "detector")}

    def at_once(self, stage: Stage) -> int:
        """Return how many stages like this one run at once; at least one."""
        room = self.of(stage).fits(self.nodes)
        limit = stage.resources.generators if stage.takes == "generator" else stage.resources.detections
        return max(1, min(room, limit or room))

    def detections(self, resources: Resources) -> int:
        """Return how many detections run at once if their GPU memory was never measured; at least one."""
        return max(1, self.largest(resources)["detector"].fits(self.nodes))

    def measured(self, kind: str, memory: Memory) -> None:
        """Note the GPU memory that a stage with this kind of work needed."""
        if memory.card:
            self._cards[memory.card] = memory.total
        by_card = self.memory.setdefault(kind, {})
        earlier = by_card.get(memory.card)
        by_card[memory.card] = memory if earlier is None else earlier.largest(memory)

    def _reserved(self, takes: str, resources: Resources, memory_kind: str | None, trains: bool) -> Share:
        if takes == "generator":
            workers = resources.generator_workers if trains and resources.generator_workers > 1 else 0
            type_ = resources.generator_accelerator
            gpus = self._gpus(resources.generator_gpus, memory_kind, type_)
            # Two processes of one process group cannot share a GPU.
            return _share(resources.generator_cpus, math.ceil(gpus) if workers else gpus, type_, workers)
        if takes == "detector":
            type_ = resources.detector_accelerator
            return _share(resources.detector_cpus, self._gpus(resources.detector_gpus, memory_kind, type_), type_)
        return Share(1, 0)

    def _gpus(self, declared: Any, kind: str | None, type_: str | None) -> float:
        if declared != "auto":
            return float(declared)
        # If the study names a type of GPU, the run waits for a node of this type.
        if not (self.has_gpus or type_) or kind is None:
            return 0.0
        needs = self._needs(self.memory.get(kind, {}), type_)
        if not needs:
            return 1.0
        fraction = max((memory.peak * SPARE + CONTEXT_BYTES) / memory.total for memory in needs)
        return min(1.0, math.ceil(fraction * STEPS_OF_A_GPU) / STEPS_OF_A_GPU)

    def _needs(self, by_card: Mapping[str, Memory], type_: str | None) -> list[Memory]:
        """Return the memory that a kind of work needs on each allowed type of GPU; empty if one need is unknown.

        If Ray does not know the type of a node's GPUs, they are assumed to be of the measured types.
        """
        had = {name for node in self.nodes for name in node if name.startswith(TYPE_OF_GPU) and node.get("GPU", 0)}
        names = {type_} if type_ else {name.removeprefix(TYPE_OF_GPU) for name in had}
        types = {name.partition("-")[0] for name in names}
        if not types or not by_card:
            return [*by_card.values()]
        needs = [self._need(by_card, name) for name in types]
        known = [need for need in needs if need is not None]
        return known if len(known) == len(needs) else []

    def _need(self, by_card: Mapping[str, Memory], type_: str) -> Memory | None:
        """Return the need measured on a type of GPU, or else the maximum need measured on other types.

        Returns None for a type without a measurement whose total memory is unknown.
        """
        for card, memory in by_card.items():
            if _is_of(card, type_):
                return memory
        totals = [total for card, total in self._cards.items() if _is_of(card, type_)]
        return Memory(max(memory.peak for memory in by_card.values()), min(totals)) if totals else None


def _share(cpus: float, gpus: float, type_: str | None, workers: int = 0) -> Share:
    return Share(cpus, gpus, workers, type_ if gpus else None)


def _is_of(card: str, type_: str) -> bool:
    """Return whether torch's name of a card (``NVIDIA A100-SXM4-80GB``) belongs to Ray's type of GPU (``A100``)."""
    return type_ in re.split(r"[\s-]+", card)


def expected_seconds(stage: Stage, wanted: Sequence[Stage], device: str, costs: Costs) -> float:
    """Return the expected seconds of a stage from measured costs, or ``UNKNOWN_UNIT_SECONDS`` for each unmeasured unit.

    Args:
        wanted: the products that the stage has to make.
    """
    seconds = 0.0
    for work in stage.work(wanted, device):
        cost = costs.get(work.kind)
        seconds += work.units * ((cost.each if cost else None) or UNKNOWN_UNIT_SECONDS)
    return seconds


def longest_first(plan: Plan, fingerprints: Iterable[str], shares: Shares, costs: Costs) -> list[str]:
    """Sort cells by descending length of their training, and of equal ones by their own expected seconds.

    The longest training decides when a study ends, and a long cell that begins last is what many GPUs wait for.
    """
    cells = {f: plan.cells[f] for f in fingerprints}
    products = plan.products(cells.values())
    steps = {producer: plan.stages[producer].steps(wanted) for producer, wanted in products.items()}

    @cache
    def longest(inputs: tuple[str, ...]) -> int:
        return max((steps.get(id_, 0) for id_ in plan.closure(inputs)), default=0)

    def length(fingerprint: str) -> tuple[int, float]:
        cell = cells[fingerprint]
        return longest(cell.inputs), expected_seconds(cell, [cell], shares.of(cell).device, costs)

    return sorted(cells, key=length, reverse=True)
