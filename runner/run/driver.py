"""What the driver does while the cluster works: the broker, Ray Tune, the tracker and the progress bars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError
from rich.console import Console

from components.errors import BadInput
from runner.cluster.broker import BrokerActor
from runner.cluster.connection import cluster
from runner.console.progress import shown
from runner.plan.costs import read_costs, read_memory
from runner.plan.plan import Plan, Trial, point_key
from runner.plan.planning import Declared, plan_point
from runner.plan.scheduling import Share, Shares
from runner.run.options import Options, Run
from runner.run.tracking import Tracker, tracking_mode
from runner.run.work import Work
from runner.stages.external import supply
from runner.store.artifacts import Store
from runner.study.search import points_of
from runner.study.study import Resources, Study

SNAPSHOT_SECONDS = 5.0


class Stopped(Exception):
    """An execution that ended early, with what it had done: its generator steps count as much as any others."""

    def __init__(self, run: Run, reason: BaseException) -> None:
        super().__init__(str(reason))
        self.run, self.reason = run, reason


def execute(work: Work, options: Options, console: Console) -> Run:
    """Run what is left on a cluster. Raises :class:`Stopped` if that ends early."""
    wanted = {work.plan.cells[f].image_set for f in work.missing}
    supply((s for s in work.plan.external.values() if s.key in wanted), Store(options.store_uri))
    with cluster(options.address, options.cpus):
        resources = work.declared[0].study.resources
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        _check_room(resources, nodes)
        return _Driver(work, options, nodes, resources).run(console)


class _Driver:
    """One run on one cluster."""

    def __init__(self, work: Work, options: Options, nodes: list[dict[str, float]], resources: Resources) -> None:
        self.work, self.options = work, options
        self.cpus = sum(node.get("CPU", 0) for node in nodes)
        self.shares = Shares(resources, nodes, read_memory())
        self.broker = BrokerActor.remote(
            work.plan,
            options.store_uri,
            options.out_uri,
            resources,
            nodes,
            options.fail_fast,
            work.left_alone,
            read_costs(),
            self.shares.memory,
        )
        self.tracker = _tracker(options)
        self.logged: tuple[int, int, str] = (0, 0, "")

    def run(self, console: Console) -> Run:
        everything = self.broker.run.remote(_longest_first(self.work.plan, self.work.missing))
        try:
            with shown(console, lambda: ray.get(self.broker.snapshot.remote()), self.cpus):
                for each in self.work.declared:
                    self._study(each)
                ray.get(everything)
                if self.tracker is not None:
                    self.logged = ray.get(self.tracker.finish.remote())
            return self._done()
        except BaseException as reason:
            raise Stopped(self._done(), reason) from reason
        finally:
            # What this driver was at is free for another one, now and not when its leases look dead.
            with suppress(RayError):
                ray.get(self.broker.close.remote(), timeout=SNAPSHOT_SECONDS)
            # Where the cluster stays, what it has started goes with it.
            with suppress(RayError):
                ray.kill(self.broker)

    def _done(self) -> Run:
        tracked, untracked, error = self.logged
        run = Run(cells=len(self.work.asked), reused=self.work.reused)
        run = replace(run, tracked=tracked, untracked=untracked, tracking_error=error)
        # Where the cluster is what failed, its counts went with it.
        with suppress(RayError):
            progress = ray.get(self.broker.snapshot.remote(), timeout=SNAPSHOT_SECONDS)
            run = replace(
                run,
                executed=dict(progress.executed),
                generator_steps=dict(progress.steps_of),
                failed=progress.cells_failed,
                halted=self.options.fail_fast and progress.cells_failed > 0,
                costs=dict(progress.costs),
                memory=dict(progress.memory),
            )
        return run

    def _study(self, declared: Declared) -> None:
        """Several points: Ray Tune. One: wait for the rows without Tune's cost, and log them as one run."""
        study, plan = declared.study, self.work.plan
        fingerprints = plan.cells_of[study.name]
        if study.search.is_guided:
            if study.name in self.work.searches_left:
                self._search(declared)
        elif not {*fingerprints} & {*self.work.missing}:
            return
        elif len(plan.trials_of[study.name]) > 1:
            known = {trial.key: trial for trial in plan.trials_of[study.name]}
            self._tune(study, plan.trials_of[study.name], lambda values: known[point_key(values)])
        else:
            rows = ray.get(self.broker.cells.remote(fingerprints))
            if self.tracker is not None:
                planned, (trial,) = [plan.cells[f] for f in fingerprints], plan.trials_of[study.name]
                self.tracker.log.remote(study.name, trial.values, planned, rows, self.options.store_uri)

    def _search(self, declared: Declared) -> None:
        study, points = declared.study, points_of(declared.study)
        first = plan_point(declared, points[0])
        slots = min((self.shares.generators(stage) for stage in first.generators.values()), default=1)
        # One more than what fills the cluster: its next training is there when a slot is free.
        concurrent = study.search.concurrent or math.ceil(slots / max(1, len(first.generators))) + 1
        trials = [] if study.search.algorithm == "optuna" else [Trial(values, {}) for values in points]
        self._tune(study, trials, partial(self.work.trial, declared, broker=self.broker), concurrent)

    def _tune(self, study: Study, trials: Sequence[Trial], plan_trial: Any, concurrent: int | None = None) -> None:
        # Tune takes a second to import; a study of one point does without.
        from runner.run.sweep import GRID_CONCURRENT, Sweep, run_sweep

        run_sweep(
            Sweep(
                study,
                trials,
                plan_trial,
                self.work,
                self.broker,
                self.tracker,
                concurrent or GRID_CONCURRENT,
            )
        )


def _check_room(resources: Resources, nodes: Sequence[Mapping[str, Any]]) -> None:
    """A stage that no node has room for would wait for ever. Raises :class:`BadInput`."""
    for kind in ("generator", "detector"):
        cpus, declared = getattr(resources, f"{kind}_cpus"), getattr(resources, f"{kind}_gpus")
        gpus = 0 if declared == "auto" else declared
        if not Share(cpus, gpus).fits(nodes):
            most = ", ".join(sorted({f"{n.get('CPU', 0):g} CPUs and {n.get('GPU', 0):g} GPUs" for n in nodes}))
            raise BadInput(
                f"resources: a {kind} asks for {cpus:g} CPUs and {gpus:g} GPUs, and the nodes have {most}; "
                f"lower resources.{kind}_cpus or resources.{kind}_gpus"
            )


def _longest_first(plan: Plan, fingerprints: list[str]) -> list[str]:
    """Cells whose generator trains longest come first: they decide when the study ends."""

    def steps(f: str) -> int:
        flight = plan.cells[f].generator
        return plan.generators[flight].iterations if flight else 0

    return sorted(fingerprints, key=steps, reverse=True)


def _tracker(options: Options) -> Any:
    mode = tracking_mode()
    if mode == "disabled":
        return None
    if mode not in ("online", "offline"):
        raise BadInput(f"WANDB_MODE={mode}: use online, offline or disabled")
    options.local_folder.mkdir(parents=True, exist_ok=True)
    return Tracker.remote(str(options.local_folder.absolute()), mode)
