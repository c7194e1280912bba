"""Price a plan: count all stages and the stages already made, and estimate the hours and disk space of the others.

Nothing is run or written. Prices are computed from the seconds that stages took on this machine
(`goodshot.runner.stages.costs`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from goodshot.runner.plan.plan import Plan
from goodshot.runner.plan.scheduling import Shares
from goodshot.runner.stages.base import Stage
from goodshot.runner.stages.costs import Costs
from goodshot.runner.store.artifacts import Store

Hours = tuple[float | None, float | None]
"""CPU hours and GPU hours; both are None if the work of some stage was never measured."""


@dataclass(frozen=True)
class StagePrice:
    """The price of all stages of one kind in a plan.

    kind: the title of the stages.
    wanted: the number of planned stages.
    asked: the number of cells that need one of them.
    done: the number of stages that are in the store; for cells, the number of rows in ``--out``.
    cpu_hours, gpu_hours: hours that the remaining stages need; None if their work was never measured.
    disk: bytes that the remaining stages add to the store.
    """

    kind: str
    wanted: int
    asked: int
    done: int
    cpu_hours: float | None = 0.0
    gpu_hours: float | None = 0.0
    disk: int = 0

    @property
    def remaining(self) -> int:
        """The number of stages that have to be run."""
        return self.wanted - self.done


def price(plan: Plan, store: Store, finished: set[str], shares: Shares, costs: Costs) -> list[StagePrice]:
    """Return the prices of all kinds of stages in a plan, in the order of the stage graph.

    Args:
        finished: fingerprints of the cells that have a row.
    """
    made = {id_ for id_, stage in plan.stages.items() if stage.is_artifact and stage.is_made(store)}
    products = plan.products(plan.cells.values())
    stages = plan.closure(dict.fromkeys(id_ for cell in plan.cells.values() for id_ in cell.inputs))
    users = _users(plan, stages)
    prices = _Prices(shares, costs)
    # A cell that has a row needs no stages, even if they were deleted from the store.
    needed = {id_ for id_, cells in users.items() if id_ not in made and not cells <= finished}
    for id_, stage in stages.items():
        missing = [product for product in products.get(id_, ()) if product.id in needed]
        is_remaining = bool(missing) if id_ in products and not stage.is_artifact else id_ in needed
        prices.add(stage, missing if not stage.is_artifact else [stage], is_remaining, users[id_])
    for fingerprint, cell in plan.cells.items():
        prices.add(cell, [cell], fingerprint not in finished, {fingerprint})
    return prices.prices()


def _users(plan: Plan, stages: Mapping[str, Stage]) -> dict[str, set[str]]:
    """Return the fingerprints of the cells that depend on each stage, directly or indirectly, by the stage's id."""
    users: dict[str, set[str]] = {id_: set() for id_ in stages}
    groups: dict[tuple[str, ...], set[str]] = {}
    for fingerprint, cell in plan.cells.items():
        groups.setdefault(cell.inputs, set()).add(fingerprint)
    for inputs, cells in groups.items():
        for id_ in plan.closure(inputs):
            users[id_] |= cells
    return users


class _Prices:
    """Adds up stages by kind, and keeps the kinds in the order in which they are added."""

    def __init__(self, shares: Shares, costs: Costs) -> None:
        self._shares, self._costs = shares, costs
        self._by_kind: dict[str, list[tuple[Stage, Sequence[Stage], bool, set[str]]]] = {}

    def add(self, stage: Stage, products: Sequence[Stage], is_remaining: bool, users: set[str]) -> None:
        """Add a stage with the products that it has to make, whether it has to be run, and the cells that need it."""
        self._by_kind.setdefault(stage.title, []).append((stage, products, is_remaining, users))

    def prices(self) -> list[StagePrice]:
        """Return the price of each kind."""
        return [self._price(title, entries) for title, entries in self._by_kind.items()]

    def _price(self, title: str, entries: Sequence[tuple[Stage, Sequence[Stage], bool, set[str]]]) -> StagePrice:
        remaining = [(stage, products) for stage, products, is_remaining, _ in entries if is_remaining]
        cpu_hours, gpu_hours = _total(self._hours(stage, products) for stage, products in remaining)
        asked = len(set().union(*(users for *_, users in entries)))
        disk = sum(stage.disk(products) for stage, products in remaining)
        return StagePrice(title, len(entries), asked, len(entries) - len(remaining), cpu_hours, gpu_hours, disk)

    def _hours(self, stage: Stage, products: Sequence[Stage]) -> Hours:
        """Return the CPU hours and GPU hours that a stage reserves; None if a part of its work was never measured."""
        share = self._shares.of(stage)
        seconds = 0.0
        for work in stage.work(products, share.device):
            cost = self._costs.get(work.kind)
            if work.units and (cost is None or cost.each is None):
                return None, None
            seconds += work.units * (cost.each or 0.0 if cost else 0.0)
        processes = 1 + share.workers
        return seconds * share.cpus * processes / 3600, seconds * share.gpus * processes / 3600


def _total(hours: Iterable[Hours]) -> Hours:
    """Return the sums of the CPU hours and of the GPU hours; None if some of them were never measured."""
    pairs = list(hours)
    if any(cpu_hours is None for cpu_hours, _ in pairs):
        return None, None
    return sum(cpu_hours or 0.0 for cpu_hours, _ in pairs), sum(gpu_hours or 0.0 for _, gpu_hours in pairs)


def wall_hours(prices: Iterable[StagePrice], cpus: float, gpus: float) -> float | None:
    """Return the wall-clock hours if this many CPUs and GPUs are always busy; None if some work was never measured.

    Infinite if the work needs GPUs and there are none.
    """
    kinds = list(prices)
    if any(kind.cpu_hours is None or kind.gpu_hours is None for kind in kinds):
        return None
    on_cpus = sum(kind.cpu_hours or 0.0 for kind in kinds) / cpus
    gpu_hours = sum(kind.gpu_hours or 0.0 for kind in kinds)
    return max(on_cpus, gpu_hours / gpus if gpus else (math.inf if gpu_hours else 0.0))
