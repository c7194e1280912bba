"""The measured costs of stages on this machine: seconds per unit of work, kept in the user's cache directory.

The name of a kind of work states all that decides its cost, such as the network and its resolution, the detector and
its image size, and the device. Every run measures; `goodshot plan` estimates the remaining time from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from goodshot.components.errors import GoodshotError
from goodshot.components.weights import cache_dir
from goodshot.runner.store.files import Files

FILE = "costs.json"
MEMORY_FILE = "gpu_memory.json"


@dataclass(frozen=True)
class Cost:
    """The seconds that a number of units took."""

    seconds: float = 0.0
    units: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.seconds + other.seconds, self.units + other.units)

    @property
    def each(self) -> float | None:
        """Seconds per unit; None if no unit was measured."""
        return self.seconds / self.units if self.units else None


Costs = Mapping[str, Cost]


@dataclass(frozen=True)
class Memory:
    """The peak GPU memory of a stage and the total memory of that GPU, in bytes.

    card: torch's name of the GPU; empty if an earlier version measured it.
    """

    peak: float
    total: float
    card: str = ""

    def largest(self, other: Memory) -> Memory:
        """The safe combination of two measurements: the larger peak on the smaller GPU."""
        smaller = min(self, other, key=lambda memory: memory.total)
        return Memory(max(self.peak, other.peak), smaller.total, smaller.card)


def device_of(gpus: float) -> str:
    """The device of a stage with this number of GPUs: ``cuda`` for any, ``cpu`` for 0."""
    return "cuda" if gpus else "cpu"


def read_costs() -> dict[str, Cost]:
    """The costs measured on this machine by kind of work; empty before the first run or if the file is damaged."""
    return {kind: Cost(*pair) for kind, pair in _read(FILE).items()}


def remember_costs(measured: Costs) -> None:
    """Add the measurements of a run. Each run halves the weight of older ones, so that costs follow the machine."""
    costs = read_costs()
    for kind, cost in measured.items():
        before = costs.get(kind, Cost())
        costs[kind] = Cost(before.seconds / 2, before.units / 2) + cost
    _write(FILE, {kind: (cost.seconds, cost.units) for kind, cost in costs.items()})


def read_memory() -> dict[str, Memory]:
    """The GPU memory measured on this machine by kind of work; empty if nothing was measured."""
    return {kind: Memory(peak, total, *map(str, card)) for kind, (peak, total, *card) in _read(MEMORY_FILE).items()}


def remember_memory(measured: Mapping[str, Memory]) -> None:
    """Keep the measurements of the latest run, because another version of the code may need more or less memory."""
    memories = {**read_memory(), **measured}
    _write(MEMORY_FILE, {kind: (memory.peak, memory.total, memory.card) for kind, memory in memories.items()})


def _read(name: str) -> dict[str, tuple[Any, ...]]:
    """The rows of a file, by kind: two numbers, and in the file of GPU memory the name of a card."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        rows = json.loads((cache_dir() / name).read_text(encoding="utf-8"))
        return {str(kind): (float(first), float(second), *rest) for kind, (first, second, *rest) in rows.items()}
    return {}


def _write(name: str, values: Mapping[str, tuple[float | str, ...]]) -> None:
    # A cache that cannot be written must not fail the run: the next run only knows fewer costs.
    with suppress(OSError, GoodshotError):
        Files(str(cache_dir())).write(name, json.dumps(dict(sorted(values.items())), indent=1).encode())
