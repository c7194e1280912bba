"""How many stages run at once and what each takes of a node: declared, or of a GPU what has been measured.

A GPU is shared by as many trainings as its memory holds. What a kind of stage needs is what one of it has taken
before, on this machine or earlier in the same run; the first of its kind gets a GPU of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from components.detectors.config import DetectorConfig
from runner.plan.costs import Costs, Memory, device_of, fit_cost, step_cost
from runner.plan.plan import GeneratorStage, VQGANClipStage
from runner.study.study import Resources

CONTEXT_BYTES = 600 * 2**20
"""Of a process on a GPU, besides what torch reserves."""
SPARE = 1.2
"""A little more than was measured: the next one may differ, and a full GPU ends all that are on it."""
STEPS_OF_A_GPU = 20
"""A share is rounded up to a twentieth, so that equal ones fill a GPU."""
UNKNOWN_STEP_SECONDS = 0.1


@dataclass(frozen=True)
class Share:
    """What one stage takes of a node."""

    cpus: float
    gpus: float

    @property
    def device(self) -> str:
        """``cuda`` or ``cpu``."""
        return device_of(self.gpus)

    @property
    def threads(self) -> int:
        """What it computes with on the CPU."""
        return max(1, int(self.cpus))

    def fits(self, nodes: Iterable[Mapping[str, float]]) -> int:
        """How many of it run at once on nodes with these ``CPU`` and ``GPU``: a stage never spans two."""
        return sum(self._on(node) for node in nodes)

    def _on(self, node: Mapping[str, float]) -> int:
        by_cpu = node.get("CPU", 0) / self.cpus
        by_gpu = node.get("GPU", 0) / self.gpus if self.gpus else math.inf
        if 0 < self.gpus < 1:
            # Shares of different GPUs are not added up to one.
            by_gpu = node.get("GPU", 0) * int(1 / self.gpus + 1e-9)
        return int(min(by_cpu, by_gpu) + 1e-9)


@dataclass
class Shares:
    """What each kind of stage takes of the nodes that there are.

    Args:
        memory: by kind of stage, what one has taken of a GPU.
    """

    resources: Resources
    nodes: list[dict[str, float]]
    memory: dict[str, Memory] = field(default_factory=dict)

    @property
    def has_gpus(self) -> bool:
        """Whether any node has one."""
        return any(node.get("GPU", 0) for node in self.nodes)

    def generator(self, stage: GeneratorStage | VQGANClipStage) -> Share:
        """Of a training, or of what is made from its network."""
        training = stage.training if isinstance(stage, VQGANClipStage) else stage
        gpus = self._gpus(self.resources.generator_gpus, step_cost(training, "cuda"))
        return Share(self.resources.generator_cpus, gpus)

    def detector(self, detector: DetectorConfig) -> Share:
        """Of a detection."""
        gpus = self._gpus(self.resources.detector_gpus, fit_cost(detector, "cuda"))
        return Share(self.resources.detector_cpus, gpus)

    def generators(self, stage: GeneratorStage | VQGANClipStage) -> int:
        """How many trainings like this one run at once; at least one."""
        room = self.generator(stage).fits(self.nodes)
        return max(1, min(room, self.resources.generators or room))

    def detections(self) -> int:
        """How many detections run at once, of detectors that were never measured; at least one."""
        declared = self.resources.detector_gpus
        gpus = float(self.has_gpus) if declared == "auto" else declared
        return max(1, Share(self.resources.detector_cpus, gpus).fits(self.nodes))

    def measured(self, kind: str, memory: Memory) -> None:
        """A stage of this kind has taken so much of a GPU."""
        known = self.memory.get(kind)
        self.memory[kind] = memory if known is None else known.largest(memory)

    def _gpus(self, declared: Any, kind: str) -> float:
        if declared != "auto":
            return float(declared)
        if not self.has_gpus:
            return 0.0
        known = self.memory.get(kind)
        if known is None:
            return 1.0
        share = (known.peak * SPARE + CONTEXT_BYTES) / known.total
        return min(1.0, math.ceil(share * STEPS_OF_A_GPU) / STEPS_OF_A_GPU)


def expected_seconds(stage: GeneratorStage | VQGANClipStage, device: str, costs: Costs) -> float:
    """What a training will take, by what such steps have taken; of unknown ones the longer is the longer."""
    training = stage.training if isinstance(stage, VQGANClipStage) else stage
    known = costs.get(step_cost(training, device))
    each = (known.each if known else None) or UNKNOWN_STEP_SECONDS
    return each * training.iterations
