"""How many stages run at once and what each takes of a node: declared, or of a GPU what has been measured.

A GPU is shared by as many stages as its memory holds. What a kind of stage needs is what such a stage has taken
before, on this machine or earlier in the same run; the first of its kind gets a GPU of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runner.declaration.resources import Resources
from runner.stages.base import Stage
from runner.stages.costs import Costs, Memory, device_of

CONTEXT_BYTES = 600 * 2**20
"""Of a process on a GPU, besides what torch reserves."""
SPARE = 1.2
"""A little more than was measured: the next stage may differ, and a full GPU ends all that are on it."""
STEPS_OF_A_GPU = 20
"""A share is rounded up to a twentieth, so that equal ones fill a GPU."""
UNKNOWN_UNIT_SECONDS = 0.1


@dataclass(frozen=True)
class Share:
    """What one stage takes of a node. ``workers`` processes beside it, which train together, take as much each."""

    cpus: float
    gpus: float
    workers: int = 0

    @property
    def device(self) -> str:
        """``cuda`` or ``cpu``."""
        return device_of(self.gpus)

    @property
    def threads(self) -> int:
        """What each process computes with on the CPU."""
        return max(1, int(self.cpus))

    def fits(self, nodes: Iterable[Mapping[str, float]]) -> int:
        """How many of it run at once on nodes with these ``CPU`` and ``GPU``: none spans two nodes."""
        return sum(self._on(node) // (1 + self.workers) for node in nodes)

    def _on(self, node: Mapping[str, float]) -> int:
        by_cpu = node.get("CPU", 0) / self.cpus
        by_gpu = node.get("GPU", 0) / self.gpus if self.gpus else math.inf
        if 0 < self.gpus < 1:
            # Shares of different GPUs are not added up to one.
            by_gpu = node.get("GPU", 0) * int(1 / self.gpus + 1e-9)
        return int(min(by_cpu, by_gpu) + 1e-9)


@dataclass
class Shares:
    """What each stage takes of the nodes that there are.

    Args:
        memory: by kind of work, what such a stage has taken of a GPU.
    """

    nodes: list[dict[str, float]]
    memory: dict[str, Memory] = field(default_factory=dict)

    @property
    def has_gpus(self) -> bool:
        """Whether any node has one."""
        return any(node.get("GPU", 0) for node in self.nodes)

    def of(self, stage: Stage) -> Share:
        """What a stage takes, by the resources of its study."""
        resources = stage.resources
        if stage.takes == "generator":
            workers = resources.generator_workers if stage.trains and resources.generator_workers > 1 else 0
            gpus = self._gpus(resources.generator_gpus, stage.memory_kind())
            # Two processes of one group cannot share a GPU.
            return Share(resources.generator_cpus, math.ceil(gpus) if workers else gpus, workers)
        if stage.takes == "detector":
            return Share(resources.detector_cpus, self._gpus(resources.detector_gpus, stage.memory_kind()))
        return Share(1, 0)

    def at_once(self, stage: Stage) -> int:
        """How many stages like this one run at once; at least one."""
        room = self.of(stage).fits(self.nodes)
        limit = stage.resources.generators if stage.takes == "generator" else stage.resources.detections
        return max(1, min(room, limit or room))

    def detections(self, resources: Resources) -> int:
        """How many detections run at once, of detectors that were never measured; at least one."""
        declared = resources.detector_gpus
        gpus = float(self.has_gpus) if declared == "auto" else declared
        return max(1, Share(resources.detector_cpus, gpus).fits(self.nodes))

    def measured(self, kind: str, memory: Memory) -> None:
        """A stage of this kind of work has taken so much of a GPU."""
        known = self.memory.get(kind)
        self.memory[kind] = memory if known is None else known.largest(memory)

    def _gpus(self, declared: Any, kind: str | None) -> float:
        if declared != "auto":
            return float(declared)
        if not self.has_gpus or kind is None:
            return 0.0
        known = self.memory.get(kind)
        if known is None:
            return 1.0
        share = (known.peak * SPARE + CONTEXT_BYTES) / known.total
        return min(1.0, math.ceil(share * STEPS_OF_A_GPU) / STEPS_OF_A_GPU)


def expected_seconds(stage: Stage, wanted: Sequence[Stage], device: str, costs: Costs) -> float:
    """What a stage will take, by what such work has taken; of unknown work more units take longer."""
    seconds = 0.0
    for work in stage.work(wanted, device):
        known = costs.get(work.kind)
        seconds += work.units * ((known.each if known else None) or UNKNOWN_UNIT_SECONDS)
    return seconds
