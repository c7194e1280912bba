"""The measured costs of stages: seconds per unit of work on this machine, and GPU memory by card.

Seconds are kept in the user's cache directory. Memory is kept in the store, where a fresh machine finds it.

The name of a kind of work states all that decides its cost, such as the network and its resolution, the detector and
its image size, and the device. Every run measures; `goodshot plan` estimates the remaining time from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from goodshot.components.errors import GoodshotError
from goodshot.components.weights import cache_dir
from goodshot.runner.store.files import Files
from goodshot.runner.store.retention import MEASURED

FILE = "costs.json"
MEMORY_FILE = f"{MEASURED}/gpu_memory.json"


@dataclass(frozen=True)
class Cost:
    """The seconds that a number of units took.

    takes: the resources that the stage of these units uses; empty in records of earlier versions.
    """

    seconds: float = 0.0
    units: float = 0.0
    takes: str = ""

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.seconds + other.seconds, self.units + other.units, self.takes or other.takes)

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


Memories = dict[str, dict[str, Memory]]
"""The GPU memory by kind of work and by torch's name of the card."""


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


def read_memory(store: Files) -> Memories:
    """The GPU memory that runs on this store measured; empty if nothing was, or if the file is damaged."""
    with suppress(OSError, GoodshotError, ValueError, TypeError, AttributeError):
        kinds = json.loads(store.read(MEMORY_FILE))
        return {
            str(kind): {str(card): Memory(float(peak), float(total), str(card)) for card, (peak, total) in own.items()}
            for kind, own in kinds.items()
        }
    return {}


def remember_memory(store: Files, measured: Mapping[str, Mapping[str, Memory]]) -> None:
    """Keep the latest measurement of each kind and card, because another version may need more or less memory."""
    if not measured:
        return
    known = read_memory(store)
    for kind, by_card in measured.items():
        known[kind] = {**known.get(kind, {}), **by_card}
    rows = {
        kind: {card: (memory.peak, memory.total) for card, memory in by_card.items()} for kind, by_card in known.items()
    }
    # A store that cannot be written must not fail the run: the next one measures again.
    with suppress(OSError, GoodshotError):
        store.write(MEMORY_FILE, json.dumps(rows, indent=1, sort_keys=True).encode())


def _read(name: str) -> dict[str, tuple[float, float]]:
    """The rows of a file, by kind."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        rows = json.loads((cache_dir() / name).read_text(encoding="utf-8"))
        return {str(kind): (float(first), float(second)) for kind, (first, second) in rows.items()}
    return {}


def _write(name: str, values: Mapping[str, tuple[float, float]]) -> None:
    # A cache that cannot be written must not fail the run: the next run only knows fewer costs.
    with suppress(OSError, GoodshotError):
        Files(str(cache_dir())).write(name, json.dumps(dict(sorted(values.items())), indent=1).encode())
