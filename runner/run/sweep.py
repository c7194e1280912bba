"""Run the points of a study through Ray Tune. A trial is one point, for all categories, seeds and detectors of a study.

Ray Tune decides which point is tried next and which trial is stopped early. The broker runs the cells. A callback
records each trial in ``OUT/trials``, and a search that was killed continues from these records.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from ray import tune
from ray.tune.execution import class_cache
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter
from ray.tune.trainable import wrap_function

from goodshot.components.errors import GoodshotError
from goodshot.runner.cluster.elastic import REFRESH_SECONDS
from goodshot.runner.cluster.handles import BrokerHandle
from goodshot.runner.cluster.placing import NODE_LABEL, own_node
from goodshot.runner.declaration.search import Range
from goodshot.runner.plan.plan import Trial, point_key
from goodshot.runner.results.trials import Report, State, TrialRecord, objective_of, reported
from goodshot.runner.run.work import Work
from goodshot.runner.study.search import is_whole, space_of
from goodshot.runner.study.study import Study
from goodshot.runner.tracking.content import summarise
from goodshot.runner.tracking.tracker import Tracker

GRID_CONCURRENT = 2
"""Number of concurrent trials of a grid. Few suffice, because trials only wait and the broker runs all cells anyway."""
TRIAL_MEMORY = 256 * 2**20
"""Bytes that a trial requests. A trial that reserved a CPU or GPU would block the stages that it waits for. Ray Tune
refuses an empty request, so a trial requests the memory that a waiting process needs."""
TRIAL_RESTARTS = 3
"""How often a trial whose process was lost is started again. A trial only waits for rows, so it loses no results."""


@dataclass(frozen=True)
class Sweep:
    """The arguments of :func:`run_sweep`.

    Args:
        trials: all trials of a grid; not used if Optuna chooses the points.
        plan_trial: returns the trial with these values, after its cells are in the broker's plan.
        tracker: the W&B tracker, or None.
        concurrent: returns the number of trials that run at once, which may change during the search; None for
            :data:`GRID_CONCURRENT` trials.
    """

    study: Study
    trials: Sequence[Trial]
    plan_trial: Callable[[Mapping[str, Any]], Trial]
    work: Work
    broker: BrokerHandle
    tracker: Tracker | None
    concurrent: Callable[[], int] | None = None


def run_sweep(sweep: Sweep) -> int:
    """Try every point of a study, or as many as its search declares. Returns the number of trials.

    Trials report the mean of the study's objective over the cells of its judged arm. Test labels influence no choice,
    except in an oracle study.

    Raises:
        GoodshotError: a trial failed in Ray Tune itself. A failed cell does not raise this error.
    """
    study, search = sweep.study, sweep.study.search
    _keep_environment_out_of_trials()
    trial = tune.with_parameters(_trial, objective=study.objective, arm=study.judged_arm.label, broker=sweep.broker)
    # Ray's dashboard shows the trainable's class and name. Ray Tune's defaults, ImplicitFunc and _trial, do not name
    # the study. The name does not contain the point, because one actor serves several points in turn.
    trainable = wrap_function(tune.with_resources(trial, _beside_the_driver()), name=f"SweepPoint_{study.name}")
    trainable.__name__ = trainable.__qualname__ = "SweepPoint"
    earlier = sweep.work.ledger(study).read()
    recorder = _Recorder(sweep, earlier)
    points: dict[str, Any] = {}
    concurrent = sweep.concurrent or (lambda: GRID_CONCURRENT)
    algorithm: ConcurrencyLimiter | BasicVariantGenerator
    if search.algorithm == "optuna":
        algorithm = ConcurrencyLimiter(_optuna(study, [record.values for record in earlier]), concurrent())
    else:
        algorithm = BasicVariantGenerator(max_concurrent=concurrent())
        points = {"point": tune.grid_search([dict(trial.values) for trial in sweep.trials])}
    tuner = tune.Tuner(
        trainable,
        param_space=points,
        tune_config=tune.TuneConfig(
            metric=study.objective,
            mode="max",
            reuse_actors=True,
            num_samples=search.trials if search.algorithm == "optuna" else 1,
            search_alg=algorithm,
            scheduler=_scheduler(study),
        ),
        run_config=tune.RunConfig(
            name=study.name,
            storage_path=str((sweep.work.options.local_folder / "tune").absolute()),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=TRIAL_RESTARTS),
            callbacks=[recorder, _Concurrency(algorithm, concurrent)],
            stop=_StopAtFirstFailure(recorder) if sweep.work.options.fail_fast else None,
        ),
    )
    grid = tuner.fit()
    if grid.errors:
        first = str(grid.errors[0]).strip().splitlines()[-1]
        raise GoodshotError(f"study {study.name}: {len(grid.errors)} trials failed in Ray Tune; the first: {first}")
    return len(grid)


def _keep_environment_out_of_trials() -> None:
    """Keep Ray Tune from copying variables of the driver, such as ``AWS_SECRET_ACCESS_KEY``, into its trials.

    Ray Tune would write the variables into the trials' runtime environment, which Ray logs and shows in plain text.
    Trials only wait for the broker, so they need no variables. Ray Tune has no option for this.
    """
    class_cache.ENV_VARS_TO_PROPAGATE.clear()


def _beside_the_driver() -> tune.PlacementGroupFactory:
    """Return the resources of a trial, placed on the driver's node so that the loss of another node does not end it."""
    return tune.PlacementGroupFactory([{"memory": TRIAL_MEMORY}], bundle_label_selector=[{NODE_LABEL: own_node()}])


def _trial(config: dict[str, Any], objective: str, arm: str, broker: BrokerHandle) -> None:
    """Run one trial for Ray Tune: at each L, wait for the point's cells, then report their objective and metrics."""
    values = config.get("point", config)
    for iterations, fingerprints in broker.trial(point_key(values)).items():
        outcomes = broker.cells(fingerprints)
        rows = [row for row in outcomes if row is not None]
        value = objective_of(outcomes, objective, arm)
        tune.report({**summarise(rows), objective: value, "iterations": iterations, "rows": len(rows)})


def _optuna(study: Study, begun: Sequence[Mapping[str, Any]]) -> Any:
    """Return Optuna's sampler (TPE) for the study's space, which first suggests the points that earlier runs began."""
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
        # With the same seed, the sampler would repeat the suggestions of the earlier run.
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


class _NotPickled:
    """Excludes objects from the files to which Ray Tune pickles its arguments, because a URI may contain credentials.

    goodshot never reads these files.
    """

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        return object, ()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class _Recorder(_NotPickled, tune.Callback):
    """Plans each trial when it starts, and records its reports. Runs in the driver, which can read the photographs.

    has_failed: whether a trial has a cell without a row.
    """

    def __init__(self, sweep: Sweep, earlier: Sequence[TrialRecord]) -> None:
        self.sweep, self.ledger = sweep, sweep.work.ledger(sweep.study)
        # The records of earlier runs by point; a point that was tried twice has two records.
        self._earlier: dict[str, list[TrialRecord]] = {}
        for record in earlier:
            self._earlier.setdefault(point_key(record.values), []).append(record)
        # Records of this run by Ray Tune's trial id.
        self._records: dict[str, TrialRecord] = {}
        self.has_failed = False

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Plan the trial and send its cells to the broker; the trial waits for these cells."""
        if trial.trial_id in self._records:
            return
        values = trial.config.get("point", trial.config)
        earlier = self._earlier.get(point_key(values))
        record = earlier.pop(0) if earlier else self.ledger.begin(values)
        self._records[trial.trial_id] = record
        try:
            planned = self.sweep.plan_trial(values)
        except GoodshotError as error:
            self._records[trial.trial_id] = self.ledger.write(replace(record, error=str(error)))
            planned = Trial(values, {})
        if record.state == "stopped":  # by the scheduler in an earlier run, whose decision is final
            planned = replace(planned, cells={r.iterations: planned.cells[r.iterations] for r in record.reports})
        self.sweep.broker.begin(planned)
        if self.sweep.tracker is not None:
            self.sweep.tracker.begin(self.sweep.study, self.sweep.work.plan, planned)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Record the report with the fingerprints of the cells over which it is the mean."""
        record = self._records[trial.trial_id]
        iterations = int(result["iterations"])
        fingerprints = self.sweep.plan_trial(record.values).cells[iterations]
        self.sweep.work.count(self.sweep.study, fingerprints)
        self.has_failed = self.has_failed or math.isnan(result[self.sweep.study.objective])
        self._write(trial, reported(record, Report(iterations, result[self.sweep.study.objective], fingerprints)))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record how the trial ended, and log it to W&B."""
        record = self._records[trial.trial_id]
        reports = record.reports
        state: State
        if self.sweep.work.options.fail_fast and self.has_failed:
            return  # the trial stays "running", so that the next run continues it
        if not reports or math.isnan(reports[-1].value):
            state = "failed"
        else:
            state = "complete" if reports[-1].iterations == self._last_iterations(record) else "stopped"
        self._write(trial, replace(record, state=state))
        self._log(self._records[trial.trial_id])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record that the trial failed, and log its results so far to W&B."""
        self._write(trial, replace(self._records[trial.trial_id], state="failed"))
        self._log(self._records[trial.trial_id])

    def _last_iterations(self, record: TrialRecord) -> int:
        return max(self.sweep.plan_trial(record.values).cells)

    def _write(self, trial: Any, record: TrialRecord) -> None:
        if record != self._records[trial.trial_id]:
            self._records[trial.trial_id] = self.ledger.write(record)

    def _log(self, record: TrialRecord) -> None:
        if self.sweep.tracker is not None:
            best = record.best
            self.sweep.tracker.end(self.sweep.study, record.values, best.iterations if best else None)


class _Concurrency(_NotPickled, tune.Callback):
    """Keeps the number of trials that run at once up to date. Ray Tune has no option for a number that changes."""

    def __init__(self, algorithm: ConcurrencyLimiter | BasicVariantGenerator, concurrent: Callable[[], int]) -> None:
        self._algorithm, self._concurrent = algorithm, concurrent
        self._next_look = 0.0

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Update the number of concurrent trials every few seconds, before Ray Tune asks for the next trial."""
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + REFRESH_SECONDS
            self._algorithm.max_concurrent = self._concurrent()


class _StopAtFirstFailure(_NotPickled, tune.Stopper):
    """Ends the search when the first cell has failed (``--fail-fast``)."""

    def __init__(self, recorder: _Recorder) -> None:
        self._recorder = recorder

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False, because a single trial is never stopped."""
        return False

    def stop_all(self) -> bool:
        """Return whether to stop all trials."""
        return self._recorder.has_failed
