"""Run on Ray: the driver starts the broker and the tracker, runs Ray Tune and shows the progress."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from typing import Any

import ray
from ray.exceptions import RayError
from rich.console import Console

from goodshot.components.errors import BadInput
from goodshot.runner.cluster.broker import BrokerActor, BrokerOptions
from goodshot.runner.cluster.connection import cluster
from goodshot.runner.cluster.handles import BrokerHandle
from goodshot.runner.console.progress import shown
from goodshot.runner.declaration.resources import Resources
from goodshot.runner.plan.plan import Plan, Trial, point_key
from goodshot.runner.plan.planning import Declared, plan_point
from goodshot.runner.plan.scheduling import Shares
from goodshot.runner.run.options import Options, Run, Stopped
from goodshot.runner.run.tracked import tracker_of
from goodshot.runner.run.work import Work
from goodshot.runner.stages.costs import read_costs, read_memory
from goodshot.runner.study.search import points_of
from goodshot.runner.study.study import Study
from goodshot.runner.tracking.messages import Logged
from goodshot.runner.tracking.tracker import HASTE_SECONDS

SNAPSHOT_SECONDS = 5.0
"""How long the driver waits for the broker's final counts."""


def execute(work: Work, options: Options, console: Console) -> Run:
    """Run the remaining work on a cluster. Raises :class:`Stopped` if the run ends early."""
    work.run_in_driver(work.missing)
    with cluster(options.address, options.cpus):
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        for declared in work.declared:
            _check_room(declared.study.resources, Shares(nodes))
        return _Driver(work, options, nodes).run(console)


class _Driver:
    """One run on a cluster.

    logged: the numbers of W&B runs written and failed, and the first error.
    """

    def __init__(self, work: Work, options: Options, nodes: list[dict[str, float]]) -> None:
        self.work, self.options = work, options
        self.cpus = sum(node.get("CPU", 0) for node in nodes)
        self.shares = Shares(nodes, read_memory())
        broker_options = BrokerOptions(
            work.plan,
            options.store_uri,
            work.results.at(options.out_uri),
            nodes,
            options.fail_fast,
            work.skipped,
            read_costs(),
            self.shares.memory,
        )
        self.broker = BrokerHandle(BrokerActor.remote(broker_options))
        self.tracker = tracker_of(work, options)
        self.logged = Logged()

    def run(self, console: Console) -> Run:
        running = self.broker.run(_longest_first(self.work.plan, self.work.missing))
        try:
            with shown(console, self.broker.progress, self.cpus):
                for declared in self.work.declared:
                    self._run_study(declared)
                running.wait()
                if self.tracker is not None:
                    self.logged = self.tracker.finish()
            return self._counted_run()
        except BaseException as reason:
            if self.tracker is not None:
                self.logged = self.tracker.finish(HASTE_SECONDS)
            raise Stopped(self._counted_run(), reason) from reason
        finally:
            self.broker.close()

    def _counted_run(self) -> Run:
        run = Run(cells=len(self.work.asked), reused=self.work.reused).logged(self.logged)
        # If the cluster itself failed, its counts are lost.
        with suppress(RayError):
            run = run.counted(self.broker.progress(SNAPSHOT_SECONDS), self.options.fail_fast)
        return run

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
        """Run a guided search through Ray Tune, with as many trials at once as fill the cluster."""
        study, points = declared.study, points_of(declared.study)
        trainings = [stage for stage in plan_point(declared, points[0]).stages.values() if stage.trains]
        slots = min((self.shares.at_once(stage) for stage in trainings), default=1)
        # One more than fills the cluster, so that its training is queued when a slot becomes free.
        concurrent = study.search.concurrent or math.ceil(slots / max(1, len(trainings))) + 1
        trials = [] if study.search.algorithm == "optuna" else [Trial(values, {}) for values in points]
        self._tune(study, trials, partial(self.work.trial, declared, broker=self.broker), concurrent)

    def _tune(
        self,
        study: Study,
        trials: Sequence[Trial],
        plan_trial: Callable[[Mapping[str, Any]], Trial],
        concurrent: int | None = None,
    ) -> None:
        # Imported here, because Ray Tune takes a second to import and studies with one point do not need it.
        from goodshot.runner.run.sweep import GRID_CONCURRENT, Sweep, run_sweep

        run_sweep(Sweep(study, trials, plan_trial, self.work, self.broker, self.tracker, concurrent or GRID_CONCURRENT))
        if self.tracker is not None:
            self.tracker.conclude(study)


def _check_room(resources: Resources, shares: Shares) -> None:
    """Raise :class:`BadInput` if no node has room for a stage, because such a stage would wait for ever."""
    for kind, share in shares.largest(resources).items():
        if share.fits(shares.nodes):
            continue
        sizes = ", ".join(sorted({f"{n.get('CPU', 0):g} CPUs and {n.get('GPU', 0):g} GPUs" for n in shares.nodes}))
        processes, fields = "", f"resources.{kind}_cpus or resources.{kind}_gpus"
        if share.workers:
            processes = f" for each of {share.workers + 1} processes ({share.workers} workers and the one that samples)"
            fields = f"resources.generator_workers, {fields}"
        raise BadInput(
            f"resources: a {kind} asks for {share.cpus:g} CPUs and {share.gpus:g} GPUs{processes}, "
            f"and the nodes have {sizes}; lower {fields}"
        )


def _longest_first(plan: Plan, fingerprints: Iterable[str]) -> list[str]:
    """Sort cells so that those with the longest training come first, because these decide when the study ends."""
    cells = {f: plan.cells[f] for f in fingerprints}
    products = plan.products(cells.values())
    steps = {producer: plan.stages[producer].steps(wanted) for producer, wanted in products.items()}

    @cache
    def longest(inputs: tuple[str, ...]) -> int:
        return max(steps.get(id_, 0) for id_ in plan.closure(inputs))

    return sorted(cells, key=lambda fingerprint: longest(cells[fingerprint].inputs), reverse=True)
