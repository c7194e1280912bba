"""Ray Tune over the points of a study. A trial is one point over all categories, seeds and detectors of the study.

Tune decides what is tried next and what is given up; the broker runs the cells; what became of each trial is kept in
``OUT/trials`` by a callback, from which a killed search goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from ray import tune
from ray.tune.schedulers import ASHAScheduler

from components.errors import GoodshotError
from runner.cluster.handles import BrokerHandle
from runner.declaration.search import Range
from runner.plan.plan import Trial, point_key
from runner.results.trials import Report, State, TrialRecord, objective_of, reported
from runner.run.tracker_actor import TrackerHandle
from runner.run.tracking import summarise
from runner.run.work import Work
from runner.study.search import is_whole, space_of
from runner.study.study import Study

GRID_CONCURRENT = 2
"""Trials of a grid under way at once: they only wait, the broker works on all of their cells anyway."""
# A trial only waits, so it takes no CPU and no GPU: one that did would starve the stages it waits for. Tune wants
# some resource all the same; memory is what a waiting process really holds.
TRIAL_MEMORY = 256 * 2**20


@dataclass(frozen=True)
class Sweep:
    """What Ray Tune is to do, and whom to ask.

    Args:
        trials: all points, unless Optuna chooses them.
        plan_trial: values → the trial, whose cells the broker knows then.
        tracker: the W&B actor, or None.
        concurrent: trials under way at once.
    """

    study: Study
    trials: Sequence[Trial]
    plan_trial: Callable[[Mapping[str, Any]], Trial]
    work: Work
    broker: BrokerHandle
    tracker: TrackerHandle | None
    concurrent: int = GRID_CONCURRENT


def run_sweep(sweep: Sweep) -> int:
    """Try every point of a study, or as many as its search says. Returns the number of trials.

    Trials report the mean of the study's objective over the cells of its judged arm; test labels choose nothing,
    except in an oracle study.
    """
    study, search = sweep.study, sweep.study.search
    trainable = tune.with_parameters(_trial, objective=study.objective, arm=study.judged_arm.label, broker=sweep.broker)
    known = sweep.work.ledger(study).read()
    recorder = _Recorder(sweep, known)
    points: dict[str, Any] = {}
    algorithm = None
    if search.algorithm == "optuna":
        algorithm = _optuna(study, [record.values for record in known])
    else:
        points = {"point": tune.grid_search([dict(trial.values) for trial in sweep.trials])}
    tuner = tune.Tuner(
        tune.with_resources(trainable, tune.PlacementGroupFactory([{"memory": TRIAL_MEMORY}])),
        param_space=points,
        tune_config=tune.TuneConfig(
            metric=study.objective,
            mode="max",
            reuse_actors=True,
            max_concurrent_trials=sweep.concurrent,
            num_samples=search.trials if algorithm is not None else 1,
            search_alg=algorithm,
            scheduler=_scheduler(study),
        ),
        run_config=tune.RunConfig(
            name=study.name,
            storage_path=str((sweep.work.options.local_folder / "tune").absolute()),
            verbose=0,
            callbacks=[recorder],
            stop=_AtOnce(recorder) if sweep.work.options.fail_fast else None,
        ),
    )
    grid = tuner.fit()
    if grid.errors:
        first = str(grid.errors[0]).strip().splitlines()[-1]
        raise GoodshotError(f"study {study.name}: {len(grid.errors)} trials failed in Ray Tune; the first: {first}")
    return len(grid)


def _trial(config: dict[str, Any], objective: str, arm: str, broker: BrokerHandle) -> None:
    """One trial: at each L wait, without resources, for the point's rows; report them."""
    values = config.get("point", config)
    for iterations, fingerprints in broker.trial(point_key(values)).items():
        found = broker.cells(fingerprints)
        rows = [row for row in found if row is not None]
        value = objective_of(found, objective, arm)
        tune.report({**summarise(rows), objective: value, "iterations": iterations, "rows": len(rows)})


def _optuna(study: Study, begun: Sequence[Mapping[str, Any]]) -> Any:
    """Optuna's sampler (TPE) over the study's space; what an earlier run began comes first."""
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def distribution(field: str, values: Range | tuple[Any, ...]) -> Any:
        if not isinstance(values, Range):
            return optuna.distributions.CategoricalDistribution(values)
        if is_whole(study, field, values):
            step = 1 if values.log else int(values.step or 1)
            return optuna.distributions.IntDistribution(int(values.low), int(values.high), values.log, step)
        return optuna.distributions.FloatDistribution(values.low, values.high, values.log, values.step)

    return OptunaSearch(
        space={field: distribution(field, values) for field, values in space_of(study).items()},
        metric=study.objective,
        mode="max",
        # A sampler that starts again with the same seed would suggest the same points again.
        sampler=optuna.samplers.TPESampler(seed=study.search.seed + len(begun)),
        points_to_evaluate=[dict(values) for values in begun] or None,
    )


def _scheduler(study: Study) -> Any:
    if study.search.scheduler != "asha":
        return None
    return ASHAScheduler(
        time_attr="iterations",
        grace_period=min(study.iterations),
        max_t=max(study.iterations),
        reduction_factor=study.search.reduction,
    )


class _OfThisProcess:
    """Tune pickles what it is given into its folder, where nobody reads it: a store's credentials must not go there."""

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        return object, ()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class _Recorder(_OfThisProcess, tune.Callback):
    """Plans each trial as it starts and keeps what it reports; in the driver, where the photographs are known."""

    def __init__(self, sweep: Sweep, known: Sequence[TrialRecord]) -> None:
        self.sweep, self.ledger = sweep, sweep.work.ledger(sweep.study)
        # Of an earlier run. A point that was tried twice stands there twice.
        self._known: dict[str, list[TrialRecord]] = {}
        for record in known:
            self._known.setdefault(point_key(record.values), []).append(record)
        self._begun: dict[str, TrialRecord] = {}
        self.has_failed = False
        """Whether a point lacks a cell."""

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial waits for the broker to learn of its cells."""
        if trial.trial_id in self._begun:
            return
        values = trial.config.get("point", trial.config)
        earlier = self._known.get(point_key(values))
        record = earlier.pop(0) if earlier else self.ledger.begin(values)
        self._begun[trial.trial_id] = record
        try:
            planned = self.sweep.plan_trial(values)
        except GoodshotError as error:
            self._begun[trial.trial_id] = self.ledger.write(replace(record, error=str(error)))
            planned = Trial(values, {})
        if record.state == "stopped":  # then, for good: the decision stands
            planned = replace(planned, cells={r.iterations: planned.cells[r.iterations] for r in record.reports})
        self.sweep.broker.begin(planned)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Keep the report with the cells that it is the mean of."""
        record = self._begun[trial.trial_id]
        iterations = int(result["iterations"])
        fingerprints = self.sweep.plan_trial(record.values).cells[iterations]
        self.sweep.work.count(self.sweep.study, fingerprints)
        self.has_failed = self.has_failed or math.isnan(result[self.sweep.study.objective])
        self._keep(trial, reported(record, Report(iterations, result[self.sweep.study.objective], fingerprints)))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Keep how it ended, and log it."""
        record = self._begun[trial.trial_id]
        reports = record.reports
        state: State
        if self.sweep.work.options.fail_fast and self.has_failed:
            return  # the run ended, not the point: the next one goes on with it
        if not reports or math.isnan(reports[-1].value):
            state = "failed"
        else:
            state = "complete" if reports[-1].iterations == self._last(record) else "stopped"
        self._keep(trial, replace(record, state=state))
        self._log(self._begun[trial.trial_id])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Keep that it failed."""
        self._keep(trial, replace(self._begun[trial.trial_id], state="failed"))

    def _last(self, record: TrialRecord) -> int:
        return max(self.sweep.plan_trial(record.values).cells)

    def _keep(self, trial: Any, record: TrialRecord) -> None:
        if record != self._begun[trial.trial_id]:
            self._begun[trial.trial_id] = self.ledger.write(record)

    def _log(self, record: TrialRecord) -> None:
        if self.sweep.tracker is None or not record.reports:
            return
        work = self.sweep.work
        planned = [work.plan.cells[f] for f in record.reports[-1].fingerprints]
        rows = self.sweep.broker.outcomes([stage.fingerprint for stage in planned])
        self.sweep.tracker.log(self.sweep.study.name, record.point, planned, rows)


class _AtOnce(_OfThisProcess, tune.Stopper):
    """Ends the search at the first point that lacks a cell (``--fail-fast``)."""

    def __init__(self, recorder: _Recorder) -> None:
        self._recorder = recorder

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No point ends by itself."""
        return False

    def stop_all(self) -> bool:
        """Whether all do."""
        return self._recorder.has_failed
