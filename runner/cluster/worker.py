"""The processes that run stages: a Ray task for any stage, an actor for stages that keep objects warm.

What a stage computes with is imported where it runs: the driver and the broker only send stages off, and start in a
second and 80 MB instead of five seconds and 700 MB.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray

from runner.cluster.connection import quiet_worker, start_worker, taken_of_gpu
from runner.plan.scheduling import Share
from runner.stages.base import Context, SharedValue, Stage, Warm, load_value
from runner.stages.costs import Cost, Memory
from runner.store.artifacts import Store

if TYPE_CHECKING:
    from runner.cluster.handles import Listener
    from runner.results.results import Results


@dataclass(frozen=True)
class Job:
    """One run of a stage: the products that are wanted of it, and what it takes of a node."""

    stage: Stage
    wanted: tuple[Stage, ...]
    share: Share


@dataclass(frozen=True)
class Locations:
    """Where a run keeps things: the store's URI, and the results."""

    store_uri: str
    results: Results


@dataclass
class JobReport:
    """What a worker tells of a finished job.

    node: Ray's id of the node. outcome: of a cell, what trials are judged by.
    """

    node: str
    seconds: float = 0.0
    costs: dict[str, Cost] = field(default_factory=dict)
    memory: dict[str, Memory] = field(default_factory=dict)
    outcome: dict[str, Any] | None = None

    def measured(self, kind: str, seconds: float, units: float) -> None:
        """Some units of a kind of work have taken so many seconds."""
        self.costs[kind] = self.costs.get(kind, Cost()) + Cost(seconds, units)


@ray.remote
def load(value: SharedValue, store_uri: str, device: str, threads: int, *inputs: Any) -> Any:
    """A shared value, in Ray's object store: all processes of a node read one copy."""
    if value.takes == "detector":
        start_worker(threads)
    else:
        quiet_worker()
    return value.load(Store(store_uri), inputs, device, threads)


@ray.remote
def run_job(job: Job, locations: Locations, *values: Any) -> JobReport:
    """Run a stage that keeps nothing warm."""
    return _run(job, locations, values, Warm(), None)


@ray.remote(max_restarts=3, max_task_retries=3)
class StageActor:
    """Runs the stages of one category that keep objects warm, such as its generators.

    All state that must survive is in the store, so a killed actor restarts, finds the last checkpoint there and goes
    on.
    """

    def __init__(self) -> None:
        self._warm: Warm[Any] = Warm()

    def run(self, job: Job, locations: Locations, listener: Listener, *values: Any) -> JobReport:
        """Commit what is wanted of the job's stage, telling the listener on the way."""
        return _run(job, locations, values, self._warm, listener)


def _run(
    job: Job, locations: Locations, values: Sequence[Any], warm: Warm[Any], listener: Listener | None
) -> JobReport:
    stage, share = job.stage, job.share
    if stage.computes:
        start_worker(share.threads)
    else:
        quiet_worker()
    store = Store(locations.store_uri)
    loaded = dict(zip(stage.reads, values, strict=True))

    def read(value: SharedValue) -> Any:
        return loaded[value] if value in loaded else load_value(value, store, share.device, share.threads)

    report = JobReport(ray.get_runtime_context().get_node_id())
    context = Context(store, read, share.device, measured=report.measured, warm=warm)
    if listener is not None:
        context.announce = listener.announce
        context.stepped = lambda _, steps, seconds: listener.stepped(stage.id, steps, seconds)
    if share.workers:
        from runner.cluster.together import Workers

        context.train_together = Workers(share.workers, share.cpus, share.gpus, ray.util.get_node_ip_address()).train
    began = time.perf_counter()
    found = stage.run(context, job.wanted)
    report.seconds = time.perf_counter() - began
    report.outcome = _appended(stage, found, locations.results, share.device)
    kind, memory = stage.memory_kind(), taken_of_gpu(share.device)
    # Of several processes that train together this one only samples.
    if kind is not None and memory is not None and not share.workers:
        report.memory[kind] = memory
    return report


def _appended(stage: Stage, found: Any, results: Results, device: str) -> dict[str, Any] | None:
    """Append a cell's row to the results; None for a stage that is no cell."""
    from runner.cells import CellStage

    if not isinstance(stage, CellStage):
        return None
    row = results.append_cell(stage, found, device)
    return {name: row.get(name) for name in results.tables.outcome}
