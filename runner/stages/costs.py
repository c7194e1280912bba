"""What stages have cost on this machine: seconds a unit, measured by every run, kept in the user's cache.

A kind of work is known by what decides its cost: the network and its resolution, the detector and its image size, the
device. `goodshot plan` prices what is left by it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from components.errors import GoodshotError
from components.weights import cache_dir
from runner.store.files import Files

FILE = "costs.json"
MEMORY_FILE = "gpu_memory.json"


@dataclass(frozen=True)
class Cost:
    """Seconds that so many units have taken."""

    seconds: float = 0.0
    units: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.seconds + other.seconds, self.units + other.units)

    @property
    def each(self) -> float | None:
        """Seconds a unit; None if none was measured."""
        return self.seconds / self.units if self.units else None


Costs = Mapping[str, Cost]


@dataclass(frozen=True)
class Memory:
    """Bytes that a stage has taken of a GPU at most, and all that it has."""

    peak: float
    total: float

    def largest(self, other: Memory) -> Memory:
        """What is safe where either was seen: the larger need on the smaller GPU."""
        return Memory(max(self.peak, other.peak), min(self.total, other.total))


def device_of(gpus: float) -> str:
    """What a stage with so many GPUs runs on."""
    return "cuda" if gpus else "cpu"


def read_costs() -> dict[str, Cost]:
    """What is known on this machine; nothing, where nothing was run or the file is damaged."""
    return {kind: Cost(*pair) for kind, pair in _read(FILE).items()}


def remember_costs(measured: Costs) -> None:
    """Add a run's measurements. Older ones count half as much with each run, so that a machine's change is seen."""
    known = read_costs()
    for kind, cost in measured.items():
        before = known.get(kind, Cost())
        known[kind] = Cost(before.seconds / 2, before.units / 2) + cost
    _write(FILE, {kind: (cost.seconds, cost.units) for kind, cost in known.items()})


def read_memory() -> dict[str, Memory]:
    """What stages have taken of this user's GPUs."""
    return {kind: Memory(*pair) for kind, pair in _read(MEMORY_FILE).items()}


def remember_memory(measured: Mapping[str, Memory]) -> None:
    """Keep the latest run's: another version may need more or less."""
    known = {**read_memory(), **measured}
    _write(MEMORY_FILE, {kind: (memory.peak, memory.total) for kind, memory in known.items()})


def _read(name: str) -> dict[str, tuple[float, float]]:
    with suppress(OSError, ValueError, TypeError, AttributeError):
        kept = json.loads((cache_dir() / name).read_text(encoding="utf-8"))
        return {str(kind): (float(one), float(other)) for kind, (one, other) in kept.items()}
    return {}


def _write(name: str, values: Mapping[str, tuple[float, float]]) -> None:
    # Where the cache cannot be written, the next run knows less.
    with suppress(OSError, GoodshotError):
        Files(str(cache_dir())).write(name, json.dumps(dict(sorted(values.items())), indent=1).encode())
