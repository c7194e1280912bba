"""``goodshot plan``: what a study is made of, what of it is done already, and what the rest will take.

# Nothing is run or written; seconds are those that stages have taken on this machine (`runner.plan.costs`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from components.download import readable
from components.generator.config import VQGANConfig
from runner.console.progress import duration
from runner.plan.costs import Costs, fit_cost, image_cost, prompt_cost, score_cost, step_cost
from runner.plan.plan import GeneratorStage, ImageSetStage, Plan, PlannedCell, unshared_steps
from runner.plan.scheduling import Share, Shares
from runner.store.artifacts import Store

EMBEDDING_BYTES = 4 * 512
"""Of an embedding in a trace, about."""
Hours = tuple[float | None, float | None]
"""Of CPUs and of GPUs; None where something was never measured."""


@dataclass(frozen=True)
class StagePrice:
    """One kind of stage.

    wanted: stages; asked: how many cells ask for one; done: those in the store (or rows in --out).
    cpu_hours, gpu_hours: of what is left; None where nothing of the kind was measured yet.
    """

    kind: str
    wanted: int
    asked: int
    done: int
    cpu_hours: float | None = 0.0
    gpu_hours: float | None = 0.0
    disk: int = 0

    @property
    def left(self) -> int:
        """Stages that will be run."""
        return self.wanted - self.done


def price(plan: Plan, store: Store, finished: set[str], shares: Shares, costs: Costs) -> list[StagePrice]:
    """Every kind of stage of a plan, in the order of the stage graph."""
    left = [p for f, p in plan.cells.items() if f not in finished]
    shards = {p.support.shard for p in plan.cells.values()}
    prompts = {p.prompt for p in plan.cells.values() if p.prompt}
    asked = len(plan.cells)
    found = [
        StagePrice("shard", len(shards), asked, sum(map(store.has, shards)), disk=_shard_bytes(plan, shards, store)),
        _prompts(plan, prompts, store, costs),
        *_generators(plan, left, store, shares, costs),
    ]
    for kind, stages in (("external set", plan.external), ("VQGAN-CLIP set", plan.vqgan_clip)):
        if stages:
            users = sum(p.image_set in stages for p in plan.cells.values())
            unknown = None if kind.startswith("VQGAN") else 0.0
            found.append(StagePrice(kind, len(stages), users, sum(map(store.has, stages)), unknown, unknown))
    found.append(_detection(plan, left, shares, costs))
    return [each for each in found if each.wanted]


def _shard_bytes(plan: Plan, shards: Iterable[str], store: Store) -> int:
    samples = (s for key in shards if not store.has(key) for s in plan.category(key).samples)
    return sum(s.image_path.stat().st_size for s in samples if s.image_path.is_file())


def _prompts(plan: Plan, keys: Iterable[str], store: Store, costs: Costs) -> StagePrice:
    stages = [plan.prompts[key] for key in keys]
    left = [stage for stage in stages if not store.has(stage.key)]
    each = [_each(costs, prompt_cost(stage.encoder)) for stage in left]
    asked = sum(p.prompt is not None for p in plan.cells.values())
    cpus, _ = _total(_hours(seconds, Share(1, 0)) for seconds in each)
    return StagePrice("prompt", len(stages), asked, len(stages) - len(left), cpus, 0.0, 4096 * len(left))


def _generators(
    plan: Plan, cells: Iterable[PlannedCell], store: Store, shares: Shares, costs: Costs
) -> list[StagePrice]:
    """Trainings, and the image sets that they leave."""
    wanted = {p.generator for p in plan.cells.values() if p.generator}
    needed = {p.image_set for p in cells}
    hours: list[Hours] = []
    disk, done, sets, sets_done, set_bytes = 0, 0, 0, 0, 0
    for flight in wanted:
        stage = plan.generators[flight]
        missing = [s for s in stage.image_sets if not store.has(s.key)]
        sets, sets_done = sets + len(stage.image_sets), sets_done + len(stage.image_sets) - len(missing)
        if not any(s.key in needed for s in missing) and not missing:
            done += 1
            continue
        steps, images = max(s.iterations for s in missing) - 1, _scored_images(stage, missing)
        share = shares.generator(stage)
        parts = [(steps, step_cost(stage, share.device)), (images, image_cost(stage, share.device))]
        hours.append(_hours(_sum(parts, costs), share))
        disk += _checkpoint_bytes(stage) * len({s.iterations for s in missing}) + images * EMBEDDING_BYTES
        set_bytes += sum(s.copies * _side(stage, s) ** 2 * 3 for s in missing)
    cpus, gpus = _total(hours)
    asked = sum(p.generator is not None for p in plan.cells.values())
    return [
        StagePrice("generator", len(wanted), asked, done, cpus, gpus, disk),
        StagePrice("image set", sets, asked, sets_done, disk=set_bytes),
    ]


def _detection(plan: Plan, left: list[PlannedCell], shares: Shares, costs: Costs) -> StagePrice:
    tests: dict[str, int] = {}
    hours = []
    for planned in left:
        shard, detector = planned.support.shard, planned.cell.detector
        if shard not in tests:
            tests[shard] = sum(s.split == "test" for s in plan.category(shard).samples)
        images = len(planned.support.ids) + planned.cell.copies
        share = shares.detector(detector)
        parts = [(images, fit_cost(detector, share.device)), (tests[shard], score_cost(detector, share.device))]
        hours.append(_hours(_sum(parts, costs), share))
    cpus, gpus = _total(hours)
    wanted = len(plan.cells)
    rows = 8192 * len(left) + 100 * sum(tests.get(p.support.shard, 0) for p in left)
    return StagePrice("detection", wanted, wanted, wanted - len(left), cpus, gpus, rows)


def _scored_images(stage: GeneratorStage, missing: list[ImageSetStage]) -> int:
    details, copies = {s.detail for s in missing}, max(s.copies for s in missing)
    return len(details) * copies * (max(s.iterations for s in missing) // stage.score_every)


def _side(stage: GeneratorStage, image_set: ImageSetStage) -> int:
    return 256 if image_set.detail == "residual_256" else stage.config.resolution


def _checkpoint_bytes(stage: GeneratorStage) -> int:
    """Weights and Adam's two moments, in float32."""
    return 3 * 4 * _parameters(stage.config.vqgan, stage.config.resolution)


def _parameters(vqgan: VQGANConfig, resolution: int) -> int:
    import torch

    from components.generator.vqgan import VQGAN

    with torch.device("meta"):
        return sum(parameter.numel() for parameter in VQGAN(vqgan, resolution).parameters())


def _each(costs: Costs, kind: str) -> float | None:
    cost = costs.get(kind)
    return cost.each if cost else None


def _sum(parts: Sequence[tuple[float, str]], costs: Costs) -> float | None:
    """Seconds of so many units of each kind; None if one was never measured."""
    priced = [(units, _each(costs, kind)) for units, kind in parts if units]
    return None if any(each is None for _, each in priced) else sum(units * (each or 0.0) for units, each in priced)


def _hours(seconds: float | None, share: Share) -> Hours:
    """Hours of work as hours of each resource that it holds."""
    return (None, None) if seconds is None else (seconds * share.cpus / 3600, seconds * share.gpus / 3600)


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


COLUMNS: Mapping[str, Callable[[StagePrice], str]] = {
    "stage": lambda p: p.kind,
    "wanted": lambda p: f"{p.wanted:,}",
    "cells that ask": lambda p: f"{p.asked:,}",
    "done": lambda p: f"{p.done:,}",
    "left": lambda p: f"{p.left:,}",
    "CPU hours": lambda p: _shown(p.cpu_hours),
    "GPU hours": lambda p: _shown(p.gpu_hours),
    "disk": lambda p: readable(p.disk) if p.left and p.disk else "",
}


def print_plan(
    console: Console, plan: Plan, prices: Sequence[StagePrice], finished: int, cpus: float, gpus: float
) -> None:
    """The table of stages, what sharing saves, and the expected time."""
    cells = len(plan.cells)
    console.print(f"{cells:,} cells: {finished:,} finished, {cells - finished:,} left", highlight=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in COLUMNS:
        table.add_column(title, justify="left" if title == "stage" else "right", no_wrap=True)
    for each in prices:
        table.add_row(*(text(each) for text in COLUMNS.values()))
    console.print(table)
    steps = sum(stage.iterations - 1 for stage in plan.generators.values())
    alone = unshared_steps(plan.cells.values())
    if steps:
        console.print(
            f"generator steps: {steps:,}; a training for each image set would take {alone:,} "
            f"({alone / steps:.1f} times as many)",
            highlight=False,
        )
    if not any(each.left for each in prices):
        console.print("nothing is left to run", highlight=False)
        return
    disk = sum(each.disk for each in prices if each.left)
    hours = wall_hours(prices, cpus, gpus)
    on = f"{cpus:g} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
    if hours is None:
        time = "time: some of this was never run on this machine; run one support of it first, then plan again"
    elif hours == math.inf:
        time = f"time: it asks for GPUs, and there are none on {on}; say how many with --gpus"
    else:
        time = f"time: about {duration(hours * 3600)} on {on}, from what such stages have taken on this machine"
    console.print(f"{time}\ndisk: about {readable(disk)} more in the store and --out", highlight=False)


def _shown(hours: float | None) -> str:
    return "not measured" if hours is None else (f"{hours:.2f}" if hours else "")
