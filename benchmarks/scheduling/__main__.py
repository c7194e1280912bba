"""Measure the costs of stages on this machine, or simulate the paper's study on clusters of several sizes."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tabulate import tabulate

from benchmarks.scheduling.cluster import Node
from benchmarks.scheduling.paper import studies
from benchmarks.scheduling.simulation import Outcome, simulate
from goodshot.runner.executor.local import LocalExecutor
from goodshot.runner.results.results import Results
from goodshot.runner.run.execute import plan_studies
from goodshot.runner.run.options import Options
from goodshot.runner.stages.costs import Cost
from goodshot.runner.store.artifacts import Store

COSTS = Path(__file__).parent / "costs.json"
H200, L4 = 40.0, 12.0
"""How many times as fast as the measured CPU a GPU is taken to be. No GPU was measured: only the ratios matter."""
GPUS_OF_A_NODE, CPUS_OF_A_GPU = 8, 8


def main() -> None:
    """Print a table, a line for each cluster."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scheduling", description=__doc__)
    parser.add_argument("--measure", action="store_true", help="measure the costs on this machine")
    parser.add_argument("--gpus", default="1,8,64,512")
    parser.add_argument("--supports", type=int, default=5)
    parser.add_argument("--mixed", action="store_true", help="also half H200 and half L4, with CPU-only nodes")
    parser.add_argument("--losses", type=float, default=0.0, help="nodes lost an hour")
    parser.add_argument("--stragglers", type=float, default=0.0, help="share of jobs that take three times as long")
    parser.add_argument("--write", type=Path, help="append each line to this file of JSON lines")
    parser.add_argument("--table", type=Path, help="put the table of --write into this document, and run nothing")
    given = parser.parse_args()
    if given.table:
        _replace(given.table, [json.loads(line) for line in given.write.read_text().splitlines()])
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if given.measure:
            _measure(root)
            return
        costs = _costs()
        began = time.perf_counter()
        declared = studies(root / "images", given.supports)
        plan = plan_studies(declared, Options(str(root / "out")))
        print(f"{len(plan.cells)} cells planned in {time.perf_counter() - began:.0f} s", flush=True)
        for count in map(int, given.gpus.split(",")):
            for name, nodes in _clusters(count, given.mixed):
                found = simulate(plan, nodes, costs, given.losses, given.stragglers)
                faults = [f"{given.losses:g} nodes lost an hour"] * bool(given.losses)
                faults += [f"{given.stragglers:.0%} stragglers"] * bool(given.stragglers)
                line = dict(zip(HEADS, _line(", ".join([name, *faults]), found), strict=True))
                print(json.dumps(line), flush=True)
                if given.write:
                    with given.write.open("a") as file:
                        file.write(json.dumps(line) + "\n")


START, END = "<!-- scale: start -->", "<!-- scale: end -->"
HEADS = ("cluster", "makespan h", "bound h", "over", "utilisation", "losses", "cells", "broker ms a cell")


def _line(name: str, found: Outcome) -> tuple[object, ...]:
    return (
        name,
        f"{found.seconds / 3600:.3f}",
        f"{found.bound / 3600:.3f}",
        f"{found.seconds / found.bound - 1:+.1%}",
        f"{found.utilisation:.1%}",
        found.losses,
        found.cells,
        f"{1000 * found.cpu / found.cells:.2f}",
    )


def _replace(document: Path, lines: Sequence[Mapping[str, object]]) -> None:
    """Put the table between the marks of a document; of equal clusters the last line counts."""
    latest = {line["cluster"]: [str(line[head]) for head in HEADS] for line in lines}
    before, rest = document.read_text().split(START)
    table = tabulate([*latest.values()], HEADS, "github", disable_numparse=True)
    document.write_text(f"{before}{START}\n\n{table}\n\n{END}{rest.split(END)[1]}")


def _clusters(gpus: int, mixed: bool) -> list[tuple[str, list[Node]]]:
    each = min(gpus, GPUS_OF_A_NODE)
    whole = [Node(_id(i), CPUS_OF_A_GPU * each, each, H200) for i in range(gpus // each)]
    found = [(f"{gpus} H200", whole)]
    if mixed and gpus > 1:
        half = max(1, gpus // each // 2)
        speeds = [H200] * half + [L4] * (max(1, gpus // each - half))
        nodes = [Node(_id(i), CPUS_OF_A_GPU * each, each, speed) for i, speed in enumerate(speeds)]
        cpu_only = [Node(_id(len(nodes) + i), 64, 0) for i in range(max(1, gpus // 64))]
        found.append((f"{len(nodes) * each} GPUs, H200 and L4, {len(cpu_only)} CPU nodes", [*nodes, *cpu_only]))
    return found


def _id(number: int) -> str:
    """An id as Ray gives nodes."""
    return f"{number:056x}"


def _costs() -> Mapping[str, Cost]:
    measured = {kind: Cost(*each) for kind, each in json.loads(COSTS.read_text()).items()}
    return {**measured, **{f"{kind.removesuffix('cpu')}cuda": cost for kind, cost in measured.items()}}


def _measure(root: Path) -> None:
    """Run one category of each study's kind of work in this process, and write what it took."""
    one_shot, *_ = studies(root / "images", 1, (20,))
    category = "mvtec_ad_toothbrush"
    small = {"categories": (category,), "objects": {category: "bottle"}, "copies": (1, 40), "vq_weight": (1.0,)}
    study = one_shot.model_copy(update=small)
    options = Options(str(root / "out"))
    plan = plan_studies([study], options)
    executor = LocalExecutor(plan, Store(options.store_uri), Results(options.out))
    executor.run([*plan.cells])
    costs = {kind: (cost.seconds, cost.units) for kind, cost in sorted(executor.progress.costs.items())}
    COSTS.write_text(json.dumps(costs, indent=1) + "\n")
    print(f"{len(costs)} kinds of work in {COSTS}")


if __name__ == "__main__":
    main()
