"""Run on Ray: the driver starts the broker and the tracker, runs Ray Tune and shows the progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from ray.exceptions import RayError
from rich.console import Console

from goodshot.components.errors import BadInput
from goodshot.runner.cluster.broker import BrokerOptions, start_broker
from goodshot.runner.cluster.connection import cluster
from goodshot.runner.cluster.elastic import REFRESH_SECONDS, Autoscaler, is_autoscaled, nodes_now
from goodshot.runner.cluster.handles import BrokerHandle
from goodshot.runner.cluster.head import HeadWatch, watched_head
from goodshot.runner.console.progress import shown
from goodshot.runner.declaration.resources import Resources
from goodshot.runner.executor.progress import Progress
from goodshot.runner.plan.plan import Trial, point_key
from goodshot.runner.plan.planning import Declared, plan_point
from goodshot.runner.plan.scheduling import TYPE_OF_GPU, Share, Shares, longest_first
from goodshot.runner.run.options import Options, Run, Stopped
from goodshot.runner.run.run_record import RunRecord, followed
from goodshot.runner.run.tracked import tracker_of
from goodshot.runner.run.work import Work
from goodshot.runner.stages.costs import read_costs, read_memory
from goodshot.runner.store.files import Files
from goodshot.runner.study.search import points_of
from goodshot.runner.study.study import Study
from goodshot.runner.tracking.messages import Logged
from goodshot.runner.tracking.tracker import HASTE_SECONDS

if TYPE_CHECKING:
    from goodshot.runner.nodes.prepare import NodeGate

SNAPSHOT_SECONDS = 5.0
"""How long the driver waits for the broker's final counts."""
JOIN_SECONDS = 900.0
"""How long a run waits for the first node with room for its stages. A virtual machine with a GPU needs minutes to boot
and to fetch its image; a cluster that gets no node within 15 minutes probably never gets one."""


def execute(work: Work, options: Options, console: Console, record: RunRecord) -> Run:
    """Run the remaining work on a cluster. Raises :class:`Stopped` if the run ends early."""
    work.run_in_driver(work.missing)
    driver: _Driver | None = None

    def conclude() -> None:
        run = driver.counted_run() if driver else Run(cells=len(work.asked), reused=work.reused)
        record.end(run, has_ended=False)

    with cluster(options.address, options.cpus), watched_head(options.address is not None, conclude) as head:
        try:
            gate = _gate(work, options, console)
            nodes = _nodes_with_room_for([declared.study.resources for declared in work.declared], gate, console)
            driver = _Driver(work, options, nodes, gate, head)
        except BaseException as error:
            reason = head.reason_of(error) if head else error
            if reason is error:
                raise
            raise reason from None
        return driver.run(console, record)


class _Driver:
    """One run on a cluster.

    logged: the numbers of W&B runs written and failed, and the first error.
    """

    def __init__(
        self,
        work: Work,
        options: Options,
        nodes: list[dict[str, float]],
        gate: NodeGate | None = None,
        head: HeadWatch | None = None,
    ) -> None:
        self.work, self.options, self.gate, self.head = work, options, gate, head
        self._shares, self._costs = Shares(nodes), read_costs()
        excluded = gate.faulty if gate else frozenset()
        broker_options = BrokerOptions(
            options.store_uri,
            work.results.at(options.out_uri),
            nodes,
            options.fail_fast,
            work.skipped,
            self._costs,
            read_memory(Files(options.store_uri)),
            excluded,
            gate.seen if gate else None,
        )
        self.broker = BrokerHandle(start_broker(broker_options))
        self.tracker = tracker_of(work, options)
        self.logged = Logged()
        self._last = Progress()

    def run(self, console: Console, record: RunRecord) -> Run:
        try:
            admitting = self.gate.watching(self.broker.admit) if self.gate else nullcontext()
            with admitting, followed(self._look, record) as latest, shown(console, latest):
                self.broker.learn(self.work.plan)
                running = self.broker.run(longest_first(self.work.plan, self.work.missing, self._shares, self._costs))
                for declared in self.work.declared:
                    self._run_study(declared)
                running.wait()
                if self.tracker is not None:
                    self.logged = self.tracker.finish()
            return self.counted_run()
        except BaseException as error:
            reason = self.head.reason_of(error) if self.head else error
            if self.tracker is not None:
                self.logged = self.tracker.finish(HASTE_SECONDS)
            raise Stopped(self.counted_run(), reason) from reason
        finally:
            if not self._is_head_lost:
                self.broker.close()

    @property
    def _is_head_lost(self) -> bool:
        return self.head is not None and self.head.is_lost

    def counted_run(self) -> Run:
        """Return the counts so far; if the head is lost, return the last known counts."""
        run = Run(cells=len(self.work.asked), reused=self.work.reused).logged(self.logged)
        # If the cluster itself failed, the counts of its last second are lost.
        if not self._is_head_lost:
            with suppress(RayError):
                self._last = self.broker.progress(SNAPSHOT_SECONDS)
        return run.counted(self._last, self.options.fail_fast)

    def _look(self) -> Progress:
        """Return the counts of the run. Sends the state of the run to a broker that Ray has started again."""
        progress = self.broker.progress()
        if progress.is_lost:
            self.broker.restore(self.work.plan, self._last)
            if self.gate:
                self.broker.admit(self.gate.seen, self.gate.faulty)
        else:
            self._last = progress
        return self._last

    def _run_study(self, declared: Declared) -> None:
        """Run a study with several points through Ray Tune; wait directly for the cells of a study with one point."""
        study, plan = declared.study, self.work.plan
        fingerprints = plan.cells_of[study.name]
        if study.search.is_guided:
            if study.name in self.work.open_searches:
                self._run_search(declared)
        elif not {*fingerprints} & {*self.work.missing}:
            return
        elif len(plan.trials_of[study.name]) > 1:
            trials = {trial.key: trial for trial in plan.trials_of[study.name]}
            self._tune(study, plan.trials_of[study.name], lambda values: trials[point_key(values)])
        else:
            (trial,) = plan.trials_of[study.name]
            if self.tracker is not None:
                self.tracker.begin(study, plan, trial)
            self.broker.cells(fingerprints)
            if self.tracker is not None:
                self.tracker.end(study, trial.values)

    def _run_search(self, declared: Declared) -> None:
        """Run a guided search through Ray Tune, with as many concurrent trials as fill the current cluster."""
        study, points = declared.study, points_of(declared.study)
        trainings = [stage for stage in plan_point(declared, points[0]).stages.values() if stage.is_generator]

        def concurrent() -> int:
            # One trial more than fills the cluster, so that a training is queued when a slot becomes free. The request
            # to an autoscaler includes this trial.
            return study.search.concurrent or math.ceil(self.broker.at_once(trainings) / max(1, len(trainings))) + 1

        trials = [] if study.search.algorithm == "optuna" else [Trial(values, {}) for values in points]
        self._tune(study, trials, partial(self.work.trial, declared, broker=self.broker), concurrent)

    def _tune(
        self,
        study: Study,
        trials: Sequence[Trial],
        plan_trial: Callable[[Mapping[str, Any]], Trial],
        concurrent: Callable[[], int] | None = None,
    ) -> None:
        # Imported here, because Ray Tune takes a second to import and studies with one point do not need it.
        from goodshot.runner.run.sweep import Sweep, run_sweep

        run_sweep(Sweep(study, trials, plan_trial, self.work, self.broker, self.tracker, concurrent))
        if self.tracker is not None:
            self.tracker.conclude(study)


def _nodes_with_room_for(
    declared: Sequence[Resources], gate: NodeGate | None, console: Console
) -> list[dict[str, float]]:
    """Return the resources of the cluster's nodes. Waits for a node with room for each stage if nodes may still join.

    Raises:
        BadInput: no node has room for a stage, so that the stage would wait forever.
    """
    deadline, asked, autoscaled = time.monotonic() + JOIN_SECONDS, "", is_autoscaled()
    autoscaler = Autoscaler()
    while problems := _without_room(declared, nodes := _sound_nodes(gate)):
        # Waiting is useless if the autoscaler has no suitable machine, or if a cluster has workers already.
        has_workers = any(node.get("CPU", 0) for node in nodes)
        if time.monotonic() > deadline or (has_workers and not autoscaled):
            raise BadInput("; ".join(dict.fromkeys(_too_small(kind, share, nodes) for kind, share in problems)))
        wanted = " and one with ".join(dict.fromkeys(share.label for _, share in problems))
        if wanted != asked:
            asked = wanted
            console.print(f"waiting for a node with {asked} …", highlight=False)
            if autoscaled:
                autoscaler.ask([*dict.fromkeys(share for _, share in problems)])
        time.sleep(REFRESH_SECONDS)
        autoscaled = autoscaled or is_autoscaled()
    if autoscaled and (note := _note_on_gpus(declared, nodes)):
        console.print(note, highlight=False, soft_wrap=True)
    return nodes


def _note_on_gpus(declared: Sequence[Resources], nodes: Sequence[Mapping[str, float]]) -> str:
    """Return a note that the run uses CPUs although GPU nodes may join; empty if a node or the study states GPUs."""
    is_auto = any("auto" in (own.generator_gpus, own.detector_gpus) for own in declared)
    if not is_auto or any(node.get("GPU", 0) for node in nodes):
        return ""
    return (
        "no node has a GPU, so that this run stays on CPUs; if the autoscaler has nodes with GPUs, stop it and set "
        "resources.generator_gpus=1 and resources.detector_gpus=1"
    )


def _without_room(declared: Sequence[Resources], nodes: list[dict[str, float]]) -> list[tuple[str, Share]]:
    """Return the kinds of stages that fit on no node, each with its share."""
    shares = Shares(nodes)
    return [
        (kind, share)
        for resources in declared
        for kind, share in shares.largest(resources).items()
        if not share.fits(nodes)
    ]


def _too_small(kind: str, share: Share, nodes: list[dict[str, float]]) -> str:
    sizes = ", ".join(sorted({_size(node) for node in nodes}))
    processes, fields = "", f"resources.{kind}_cpus or resources.{kind}_gpus"
    if share.workers:
        processes = f" for each of {share.workers + 1} processes ({share.workers} workers and the one that samples)"
        fields = f"resources.generator_workers, {fields}"
    named = f", name another resources.{kind}_accelerator, or add such a node" if share.accelerator else ""
    return f"resources: a {kind} asks for {share.label}{processes}, and the nodes have {sizes}; lower {fields}{named}"


def _size(node: Mapping[str, float]) -> str:
    """Return the CPUs and GPUs of a node as text, with Ray's name of the GPU type if Ray knows the type."""
    types = ", ".join(sorted(name.removeprefix(TYPE_OF_GPU) for name in node if name.startswith(TYPE_OF_GPU)))
    size = f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs"
    return f"{size} ({types})" if types else size


def _sound_nodes(gate: NodeGate | None) -> list[dict[str, float]]:
    """Return the resources of the nodes that may get work; new nodes of a joined cluster are checked first."""
    if gate is None:
        return nodes_now().resources
    gate.look()
    return nodes_now(gate.faulty, gate.seen).resources


def _gate(work: Work, options: Options, console: Console) -> NodeGate | None:
    """Check the nodes of a joined cluster and return their gate; None for a cluster that this run has started."""
    if options.address is None:
        return None
    from goodshot.runner.nodes.prepare import NodeGate

    studies = [declared.study for declared in work.declared]
    gate = NodeGate(studies, work.plan, options.out_uri, options.store_uri, options.insecure_local, console)
    gate.open()
    return gate
