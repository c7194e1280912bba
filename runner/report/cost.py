"""The cost of a page's numbers: CPU and GPU hours, and money if a price is given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from goodshot.runner.declaration.resources import Resources
from goodshot.runner.report.blocks import Column, Table, TableCell
from goodshot.runner.report.context import Output, StudyContext
from goodshot.runner.report.values import number_value
from goodshot.runner.results.prices import Prices

HOUR = 3600.0
OF_EARLIER = ("step|", "image|", "latents|", "vqgan_clip|", "base_step|", "fusion_step|", "defect|fusion ")
"""Prefixes of kinds of work whose stages use the resources that a study declares for generators. They are needed for
records of earlier versions, which do not state the resources of a stage."""


@dataclass(frozen=True)
class Cost:
    """Hours of CPUs and GPUs that stages had reserved while they ran."""

    cpu_hours: float = 0.0
    gpu_hours: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.cpu_hours + other.cpu_hours, self.gpu_hours + other.gpu_hours)


def cost_table(output: Output, studies: Sequence[StudyContext], prices: Prices) -> Table:
    """Return a table of what the runs into one folder spent, and of what the rows of its studies took."""
    has_price = prices.of(0.0, 0.0) is not None
    costs = {
        f"spent by {len(output.runs)} run{'s' * (len(output.runs) != 1)} into this folder": spent(output, studies),
        "behind the rows of these studies, wherever it was computed": behind(studies),
    }
    return Table(
        name="cost",
        title="Cost",
        columns=[
            Column("of", "of"),
            Column("cpu_hours", "CPU hours"),
            Column("gpu_hours", "GPU hours"),
            *([Column("price", "price")] if has_price else []),
        ],
        lines=[_line(of, cost, prices) for of, cost in costs.items()],
        notes=list(_notes(prices)),
    )


def _line(of: str, cost: Cost, prices: Prices) -> list[TableCell]:
    price = prices.of(cost.cpu_hours, cost.gpu_hours)
    hours = (number_value(value, f"{value:.2f}") for value in (cost.cpu_hours, cost.gpu_hours))
    return [of, *hours, *([] if price is None else [number_value(price, f"{price:.2f}")])]


def _notes(prices: Prices) -> Iterator[str]:
    yield (
        "Hours of the CPUs and GPUs that trainings, prompts, fits and scores had reserved. A run that was killed left "
        "no record of what it spent, and processes that share one GPU count it once each. Rows do not say how long the "
        "fusion that made their defects was trained."
    )
    given = {"a GPU": prices.gpu_hour, "a CPU": prices.cpu_hour}
    if known := [f"{price:g} for an hour of {of}" for of, price in given.items() if price is not None]:
        yield f"Price: {' and '.join(known)}."


def spent(output: Output, studies: Sequence[StudyContext]) -> Cost:
    """Return what the recorded runs into a folder measured."""
    resources = [study.study.resources for study in studies]
    total = Cost()
    for run in output.runs:
        # Runs of early versions recorded none.
        for kind, measured in (run.get("costs") or {}).items():
            device = kind.rpartition("|")[2]
            takes = measured.get("takes") or ("generator" if kind.startswith(OF_EARLIER) else "")
            total += _reserved(float(measured["seconds"]), device, takes == "generator", resources)
    return total


def behind(studies: Iterable[StudyContext]) -> Cost:
    """Return what the rows of the studies took, a training and a ranking of prompts counted once."""
    costs: dict[str, Cost] = {}
    for study in studies:
        resources = [study.study.resources]
        for cell in study.cells:
            row = study.row(cell)
            device = str(row["device"])
            own = (row["seconds_fit"] or 0.0) + (row["seconds_score"] or 0.0)
            costs[f"cell {cell.fingerprint}"] = _reserved(own, device, False, resources)
            if made := row.get("seconds_made"):
                costs[f"set {cell.image_set}"] = _reserved(made, device, True, resources)
            for stage in study.arm(cell).stages:
                key, seconds = cell.key_of(stage), row.get(f"seconds_{stage.kind}")
                cost = _reserved(seconds or 0.0, device, stage.takes == "generator", resources)
                # A training's rows state its seconds up to their own L.
                if key and cost.cpu_hours >= costs.get(key, Cost()).cpu_hours:
                    costs[key] = cost
    return sum(costs.values(), Cost())


def _reserved(seconds: float, device: str, is_training: bool, resources: Sequence[Resources]) -> Cost:
    """The CPU hours that a stage reserved, and the GPU hours if it ran on a GPU; the maximum over several studies."""
    cpus = [own.generator_cpus * own.generator_workers if is_training else own.detector_cpus for own in resources]
    gpus = [own.generator_gpus if is_training else own.detector_gpus for own in resources]
    shares = [1.0 if share == "auto" else float(share) for share in gpus]
    hours = seconds / HOUR
    return Cost(hours * max(cpus, default=1.0), hours * max(shares, default=1.0) * device.startswith("cuda"))
