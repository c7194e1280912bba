"""What a study is made of, what of it is done already, and what the rest will take.

Nothing is run or written; seconds are those that stages have taken on this machine (`runner.stages.costs`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from runner.plan.plan import Plan
from runner.plan.scheduling import Shares
from runner.stages.base import Stage
from runner.stages.costs import Costs
from runner.store.artifacts import Store

Hours = tuple[float | None, float | None]
"""Of CPUs and of GPUs; None where something was never measured."""


@dataclass(frozen=True)
class StagePrice:
    """One kind of stage.

    wanted: stages; asked: cells that need one; done: those in the store (or rows in --out).
    cpu_hours, gpu_hours: of the remaining stages; None where nothing of the kind was measured yet.
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
        """Stages that will be run."""
        return self.wanted - self.done


def price(plan: Plan, store: Store, finished: set[str], shares: Shares, costs: Costs) -> list[StagePrice]:
    """Every kind of stage of a plan, in the order of the stage graph."""
    made = {id_ for id_, stage in plan.stages.items() if stage.is_artifact and stage.is_made(store)}
    products = plan.products(plan.cells.values())
    stages = plan.closure(dict.fromkeys(id_ for cell in plan.cells.values() for id_ in cell.inputs))
    users = _users(plan, stages)
    prices = _Prices(shares, costs)
    for id_, stage in stages.items():
        missing = [product for product in products.get(id_, ()) if product.id not in made]
        wanted = bool(missing) if id_ in products and not stage.is_artifact else id_ not in made
        prices.add(stage, missing if not stage.is_artifact else [stage], wanted, users[id_])
    for fingerprint, cell in plan.cells.items():
        prices.add(cell, [cell], fingerprint not in finished, {fingerprint})
    return prices.prices()


def _users(plan: Plan, stages: Mapping[str, Stage]) -> dict[str, set[str]]:
    """Stage → the cells that need it, directly or not."""
    found: dict[str, set[str]] = {id_: set() for id_ in stages}
    groups: dict[tuple[str, ...], set[str]] = {}
    for fingerprint, cell in plan.cells.items():
        groups.setdefault(cell.inputs, set()).add(fingerprint)
    for inputs, cells in groups.items():
        for id_ in plan.closure(inputs):
            found[id_] |= cells
    return found


class _Prices:
    """Adds up stages by kind, the kinds in the order of the graph: a kind stands after what it needs."""

    def __init__(self, shares: Shares, costs: Costs) -> None:
        self._shares, self._costs = shares, costs
        self._by_kind: dict[str, list[tuple[Stage, Sequence[Stage], bool, set[str]]]] = {}

    def add(self, stage: Stage, products: Sequence[Stage], wanted: bool, users: set[str]) -> None:
        """One stage, the products that are priced with it, whether it has to be run, and the cells that need it."""
        self._by_kind.setdefault(stage.title, []).append((stage, products, wanted, users))

    def prices(self) -> list[StagePrice]:
        """A price for each kind."""
        return [self._price(title, entries) for title, entries in self._by_kind.items()]

    def _price(self, title: str, entries: Sequence[tuple[Stage, Sequence[Stage], bool, set[str]]]) -> StagePrice:
        left = [(stage, products) for stage, products, wanted, _ in entries if wanted]
        cpus, gpus = _total(self._hours(stage, products) for stage, products in left)
        asked = len(set().union(*(users for *_, users in entries)))
        disk = sum(stage.disk(products) for stage, products in left)
        return StagePrice(title, len(entries), asked, len(entries) - len(left), cpus, gpus, disk)

    def _hours(self, stage: Stage, products: Sequence[Stage]) -> Hours:
        """Hours of work as hours of each resource that it holds; None if a part was never measured."""
        share = self._shares.of(stage)
        seconds = 0.0
        for work in stage.work(products, share.device):
            known = self._costs.get(work.kind)
            if work.units and (known is None or known.each is None):
                return None, None
            seconds += work.units * (known.each or 0.0 if known else 0.0)
        processes = 1 + share.workers
        return seconds * share.cpus * processes / 3600, seconds * share.gpus * processes / 3600


def _total(hours: Iterable[Hours]) -> Hours:
    """Of CPUs and of GPUs; None if one was never measured."""
    every = list(hours)
    if any(cpus is None for cpus, _ in every):
        return None, None
    return sum(cpus or 0.0 for cpus, _ in every), sum(gpus or 0.0 for _, gpus in every)


def wall_hours(prices: Iterable[StagePrice], cpus: float, gpus: float) -> float | None:
    """The time on so many CPUs and GPUs, all of them busy; None where something was never measured."""
    every = list(prices)
    if any(each.cpu_hours is None or each.gpu_hours is None for each in every):
        return None
    on_cpus = sum(each.cpu_hours or 0.0 for each in every) / cpus
    used = sum(each.gpu_hours or 0.0 for each in every)
    return max(on_cpus, used / gpus if gpus else (math.inf if used else 0.0))
