"""The output of ``goodshot plan``: the table of stages, the steps that sharing saves, and the expected time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from goodshot.components.download import readable
from goodshot.runner.console.durations import duration
from goodshot.runner.plan.plan import Plan, planned_steps, unshared_steps
from goodshot.runner.plan.pricing import StagePrice, wall_hours

COLUMNS: Mapping[str, Callable[[StagePrice], str]] = {
    "stage": lambda p: p.kind,
    "wanted": lambda p: f"{p.wanted:,}",
    "cells that ask": lambda p: f"{p.asked:,}",
    "done": lambda p: f"{p.done:,}",
    "left": lambda p: f"{p.remaining:,}",
    "CPU hours": lambda p: _hours_text(p.cpu_hours),
    "GPU hours": lambda p: _hours_text(p.gpu_hours),
    "disk": lambda p: readable(p.disk) if p.remaining and p.disk else "",
}


def print_plan(
    console: Console,
    plan: Plan,
    prices: Sequence[StagePrice],
    finished: int,
    cpus: float,
    gpus: float,
    free: int | None = None,
) -> None:
    """Print the table of stages, the training steps with and without sharing, and the expected time.

    Args:
        prices: the price of each kind of stage.
        finished: cells whose rows exist.
        cpus, gpus: the resources of the planned run.
        free: the free bytes of the disk with the store; None for an object store.
    """
    cells = len(plan.cells)
    console.print(f"{cells:,} cells: {finished:,} finished, {cells - finished:,} left", highlight=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in COLUMNS:
        table.add_column(title, justify="left" if title == "stage" else "right", no_wrap=True)
    for stage_price in prices:
        table.add_row(*(text(stage_price) for text in COLUMNS.values()))
    console.print(table)
    steps = planned_steps(plan, plan.cells.values())
    unshared = unshared_steps(plan, plan.cells.values())
    if steps:
        console.print(
            f"generator steps: {steps:,}; a training for each image set would take {unshared:,} "
            f"({unshared / steps:.1f} times as many)",
            highlight=False,
        )
    if not any(p.remaining for p in prices):
        console.print("nothing is left to run", highlight=False)
        return
    disk = sum(p.disk for p in prices if p.remaining)
    hours = wall_hours(prices, cpus, gpus)
    resources = f"{cpus:g} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
    if hours is None:
        time = "time: unknown, as some stages were never run on this machine; run one support first, then plan again"
    elif hours == math.inf:
        time = f"time: some stages need GPUs, and the plan is for {resources}; give the number of GPUs with --gpus"
    else:
        time = f"time: about {duration(hours * 3600)} on {resources}, from what such stages have taken on this machine"
    console.print(f"{time}\ndisk: about {readable(disk)} more in the store and --out", highlight=False)
    if free is not None and disk > free:
        console.print(
            f"the disk of the store has {readable(free)} free: give a --store elsewhere, or run a part of the study",
            highlight=False,
        )


def _hours_text(hours: float | None) -> str:
    return "not measured" if hours is None else (f"{hours:.2f}" if hours else "")
