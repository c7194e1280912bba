"""The Ray task and the Ray actor that run stages; the actor keeps objects in memory from one stage to the next.

Libraries such as torch are imported by the process that runs a stage. The driver and the broker only submit stages, so
without these imports they start in one second with 80 MB instead of five seconds with 700 MB.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import ray

from goodshot.runner.cluster.connection import quiet_worker, start_worker, taken_of_gpu
from goodshot.runner.cluster.draining import draining_nodes
from goodshot.runner.cluster.failures import FaultyNode, GPUMemoryFull, NoCuda
from goodshot.runner.cluster.silence import pulsing
from goodshot.runner.plan.scheduling import Share
from goodshot.runner.stages.base import Context, SharedValue, Stage, Warm, load_value
from goodshot.runner.stages.costs import Cost, Memory
from goodshot.runner.store.artifacts import Store

if TYPE_CHECKING:
    from goodshot.runner.cells import Measured
    from goodshot.runner.cluster.handles import Gate, Listener
    from goodshot.runner.results.results import Results


LEAVING_SECONDS = 2.0
"""Pause between two checks whether a node is being drained; a cloud ends a spot machine after 30 s or more."""


@dataclass(frozen=True)
class Job:
    """One run of a stage: the products that it makes, and the CPUs and GPUs that it reserves.

    gate: decides whether the node that gets the job may run it; None if every node may.
    ticket: identifies the job in :class:`~goodshot.runner.cluster.submissions.Submissions`.
    """

    stage: Stage
    wanted: tuple[Stage, ...]
    share: Share
    gate: Gate | None = None
    ticket: str = ""

    @property
    def label(self) -> str:
        """The products of the job as text for Ray's dashboard, for example ``generator coin λ=1 L=60``."""
        return self.stage.label(self.wanted)


@dataclass(frozen=True)
class Locations:
    """The places to which a run writes: the store, by its URI, and the results."""

    store_uri: str
    results: Results


@dataclass
class JobReport:
    """The report that a worker returns for a finished job.

    node: Ray's id of the worker's node.
    seconds: the duration of the stage.
    costs, memory: the measured seconds and GPU memory, by kind of work.
    outcome: the columns of a cell's row that the value of a trial is computed from; None for other stages.
    """

    node: str
    seconds: float = 0.0
    costs: dict[str, Cost] = field(default_factory=dict)
    memory: dict[str, Memory] = field(default_factory=dict)
    outcome: dict[str, Any] | None = None

    def measured(self, kind: str, seconds: float, units: float, takes: str = "") -> None:
        """Add the seconds that ``units`` of a kind of work took; ``takes`` names the resources that the stage uses."""
        self.costs[kind] = self.costs.get(kind, Cost()) + Cost(seconds, units, takes)


# Ray must not retry the task: it would use the placement of the first submission, as for the stages below.
@ray.remote(max_retries=0)
def load(
    value: SharedValue,
    store_uri: str,
    device: str,
    threads: int,
    gate: Gate | None,
    ticket: str,
    listener: Listener | None,
    *inputs: Any,
) -> Any:
    """Load a shared value into Ray's object store, where all processes of a node read one copy."""
    _ask(gate, ticket)
    with _pulsing(ticket, listener):
        if value.takes == "detector":
            start_worker(threads)
            _require_cuda(device)
        else:
            quiet_worker()
        return value.load(Store(store_uri), inputs, device, threads)


# Ray must not retry stages: the broker does, because it counts the attempts and knows the current nodes.
@ray.remote(max_retries=0)
def run_job(job: Job, locations: Locations, listener: Listener, *values: Any) -> JobReport:
    """Run a stage that keeps no objects in memory for later stages."""
    return _run(job, locations, values, Warm(), listener)


@ray.remote(max_restarts=0, max_task_retries=0)
class StageActor:
    """Runs the stages of one category and keeps objects in memory between them, such as generators.

    All state that must survive is in the store: if an actor dies, another actor continues from the last checkpoint.
    """

    def __init__(self, first: str) -> None:
        """Start without objects in memory. ``first`` is the label of the job that the actor is started for."""
        self._warm: Warm[Any] = Warm()
        self._first = first

    def __repr__(self) -> str:
        """Return the actor's name in Ray's dashboard and logs, with the label of its first job. Ray calls this once."""
        return f"StageActor for the home of {self._first}"

    def run(self, job: Job, locations: Locations, listener: Listener, *values: Any) -> JobReport:
        """Make the products of a job, and report each commit and each training step to the listener."""
        return _run(job, locations, values, self._warm, listener)


def _run(job: Job, locations: Locations, values: Sequence[Any], warm: Warm[Any], listener: Listener) -> JobReport:
    _ask(job.gate, job.ticket)
    if not job.stage.computes:
        return _measured_run(job, locations, values, warm, listener)
    with _pulsing(job.ticket, listener):
        return _measured_run(job, locations, values, warm, listener)


def _measured_run(
    job: Job, locations: Locations, values: Sequence[Any], warm: Warm[Any], listener: Listener
) -> JobReport:
    stage, share = job.stage, job.share
    if stage.computes:
        start_worker(share.threads)
        _require_cuda(share.device)
    else:
        quiet_worker()
    store = Store(locations.store_uri)
    loaded = dict(zip(stage.reads, values, strict=True))

    def read(value: SharedValue) -> Any:
        return loaded[value] if value in loaded else load_value(value, store, share.device, share.threads)

    report = JobReport(ray.get_runtime_context().get_node_id())
    context = Context(
        store,
        read,
        share.device,
        measured=partial(report.measured, takes=stage.takes),
        leaving=Leaving(report.node),
        announce=listener.announce,
        stepped=lambda _, steps, seconds: listener.stepped(stage.id, steps, seconds),
        warm=warm,
    )
    began = time.perf_counter()
    try:
        result = _result(stage, job, context)
    except Exception as error:
        if 0 < share.gpus < 1 and _is_full_gpu(error):
            raise GPUMemoryFull(str(error).partition("\n")[0]) from error
        raise
    report.seconds = time.perf_counter() - began
    report.outcome = _append_row(stage, result, locations.results, share.device)
    kind, memory = stage.memory_kind(), taken_of_gpu(share.device)
    # With training workers, this process only samples, so its memory is not the memory of a training.
    if kind is not None and memory is not None and not share.workers:
        report.memory[kind] = memory
    return report


class Leaving:
    """Tells whether this process's node is being drained, for example because a cloud will end a spot machine.

    The cluster is asked at most once every :data:`LEAVING_SECONDS`, however often a stage calls this object.
    """

    def __init__(self, node: str) -> None:
        self._node, self._asked, self._leaves = node, 0.0, False

    def __call__(self) -> bool:
        """Return whether the node was being drained when the cluster was last asked, a few seconds ago at most."""
        if not self._leaves and time.monotonic() - self._asked > LEAVING_SECONDS:
            # A cluster that does not answer has lost its head, which ends the run by itself.
            with suppress(Exception):
                self._leaves = self._node in draining_nodes()
            self._asked = time.monotonic()
        return self._leaves


def _pulsing(ticket: str, listener: Listener | None) -> AbstractContextManager[None]:
    """Send pulses to the broker, if there is one."""
    node = str(ray.get_runtime_context().get_node_id())
    return nullcontext() if listener is None else pulsing(ticket, node, listener.pulse)


def _ask(gate: Gate | None, ticket: str) -> None:
    """Wait until this node has been checked. Raises :class:`FaultyNode` if it must get no work."""
    if gate is not None and not gate.may_run(str(ray.get_runtime_context().get_node_id()), ticket):
        raise FaultyNode(f"node {socket.gethostname()} has a fault and gets no work")


def _require_cuda(device: str) -> None:
    """Raise :class:`NoCuda` if a stage is to run on a GPU that torch cannot use."""
    if device != "cuda":
        return
    import torch

    if not torch.cuda.is_available():
        name, address = socket.gethostname(), ray.util.get_node_ip_address()
        raise NoCuda(
            f"node {name} ({address}): Ray gives stages a GPU there, and torch finds no CUDA; start Ray on it with "
            "--num-gpus=0, or install the GPU's driver and a torch that is built for CUDA",
            str(ray.get_runtime_context().get_node_id()),
        )


def _is_full_gpu(error: BaseException) -> bool:
    import torch

    return isinstance(error, torch.cuda.OutOfMemoryError)


def _result(stage: Stage, job: Job, context: Context) -> Any:
    """Run the stage, together with training workers if its share has some."""
    share = job.share
    if not share.workers:
        return stage.run(context, job.wanted)
    from goodshot.runner.cluster.together import Workers

    with Workers(share.workers, share.cpus, share.gpus, ray.util.get_node_ip_address()) as workers:
        context.train_together = workers.train
        return stage.run(context, job.wanted)


def _append_row(stage: Stage, measured: Measured | None, results: Results, device: str) -> dict[str, Any] | None:
    """Append a cell's row to the results and return its outcome; None for a stage that is not a cell."""
    from goodshot.runner.cells import CellStage

    if not isinstance(stage, CellStage) or measured is None:
        return None
    row = results.append_cell(stage, measured, device)
    return {name: row.get(name) for name in results.tables.outcome}
