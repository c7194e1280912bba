"""Run in this process, without Ray: one study after another, and the points of a study one after another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from goodshot.runner.cluster.connection import quiet_environment
from goodshot.runner.console.progress import shown
from goodshot.runner.executor.local import LocalExecutor
from goodshot.runner.plan.plan import Trial, point_key
from goodshot.runner.plan.scheduling import Shares
from goodshot.runner.results.trials import Ledger, Report, TrialRecord, objective_of, reported
from goodshot.runner.run.options import Options, Run, Stopped
from goodshot.runner.run.run_record import RunRecord, followed
from goodshot.runner.run.tracked import tracker_of
from goodshot.runner.run.work import Work
from goodshot.runner.stages.base import Stage
from goodshot.runner.store.artifacts import Store
from goodshot.runner.study.study import Study
from goodshot.runner.tracking.tracker import HASTE_SECONDS


def execute_locally(work: Work, options: Options, console: Console, record: RunRecord) -> Run:
    """Run the remaining work, on the CPU. Raises :class:`Stopped` if the run ends early."""
    quiet_environment()
    return _LocalRun(work, options).run(console, record)


Outcomes = Sequence[Mapping[str, Any] | None]
"""The outcomes of cells, in order: the columns that the value of a trial is computed from; None for a failed cell."""


class _LocalRun:
    def __init__(self, work: Work, options: Options) -> None:
        self.work, self.options = work, options
        results = work.results.at(options.out_uri)
        self.executor = LocalExecutor(work.plan, Store(options.store_uri), results, threads=_threads)
        self.tracker = tracker_of(work, options)

    def run(self, console: Console, record: RunRecord) -> Run:
        progress = self.executor.progress
        try:
            with followed(lambda: progress, record) as latest, shown(console, latest):
                self.executor.want([self.work.plan.cells[f] for f in self.work.missing])
                for declared in self.work.declared:
                    self._run_study(declared.study)
        except BaseException as reason:
            raise Stopped(self._counted_run(HASTE_SECONDS), reason) from reason
        return self._counted_run()

    def _counted_run(self, at_most: float = math.inf) -> Run:
        run = Run(cells=len(self.work.asked), reused=self.work.reused)
        if self.tracker is not None:
            run = run.logged(self.tracker.finish(at_most))
        return run.counted(self.executor.progress, self.options.fail_fast)

    @property
    def _has_ended(self) -> bool:
        """Whether the first failure has ended the run."""
        return self.options.fail_fast and self.executor.progress.cells_failed > 0

    def _run_study(self, study: Study) -> None:
        trials = self.work.plan.trials_of[study.name]
        if {*self.work.missing}.isdisjoint(self.work.plan.cells_of[study.name]):
            return
        ledger = self.work.ledger(study)
        records = {point_key(record.values): record for record in ledger.read()} if len(trials) > 1 else {}
        for trial in trials:
            if self.tracker is not None:
                self.tracker.begin(study, self.work.plan, trial)
            outcomes = [self._run_cells(fingerprints) for fingerprints in trial.cells.values()]
            if self._has_ended:
                return  # nothing is recorded for this point, so that the next run continues it
            if len(trials) > 1:
                self._record(ledger, records.get(trial.key), trial, outcomes)
            if self.tracker is not None:
                self.tracker.end(study, trial.values)
        if self.tracker is not None and len(trials) > 1:
            self.tracker.conclude(study)

    def _run_cells(self, fingerprints: Sequence[str]) -> list[Mapping[str, Any] | None]:
        runnable = [f for f in fingerprints if f not in self.work.skipped and not self._has_ended]
        outcomes = dict(zip(runnable, self.executor.run(runnable, self.options.fail_fast), strict=True))
        return [outcomes.get(f) for f in fingerprints]

    def _record(self, ledger: Ledger, earlier: TrialRecord | None, trial: Trial, outcomes: Sequence[Outcomes]) -> None:
        """Record the result of a point as Ray Tune's callback does."""
        record, study = earlier or ledger.begin(trial.values), ledger.study
        arm = study.judged_arm.label
        for (iterations, fingerprints), at_iterations in zip(trial.cells.items(), outcomes, strict=True):
            value = objective_of(at_iterations, study.objective, arm)
            record = reported(record, Report(iterations, value, fingerprints))
        failed = not record.reports or math.isnan(record.reports[-1].value)
        ledger.write(record.ended("failed" if failed else "complete"))


def _threads(stage: Stage) -> int:
    """Return the number of threads that the stage has on Ray, because this number affects the rounding of sums."""
    return Shares([{"CPU": 1}]).of(stage).threads
