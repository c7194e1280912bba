"""W&B: one run per trial, all written by one logging actor (an actor or a process per trial costs seconds each)."""

from __future__ import annotations

import math
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from components.errors import GoodshotError
from runner.cells import CellStage
from runner.plan.plan import point_label
from runner.stages.traces import read_curve
from runner.store.artifacts import Store

ENVIRONMENT = ("WANDB_MODE", "WANDB_DIR", "TMPDIR")
"""What W&B is told by the environment of its process while a :class:`Tracker` is at work."""
Rows = Sequence[Mapping[str, Any] | None]


@dataclass(frozen=True)
class Tracked:
    """What one W&B run shows: a name, its configuration, summary values, and curves over iterations l."""

    study: str
    name: str
    config: Mapping[str, Any]
    summary: Mapping[str, float]
    curves: Mapping[str, Mapping[int, float]]


def tracked(study: str, values: Mapping[str, Any], cells: Sequence[CellStage], rows: Rows, store: Store) -> Tracked:
    """The W&B run of one point: its mean values, and each training's similarity over the scored iterations."""
    curves = {}
    for stage, row in zip(cells, rows, strict=True):
        cell, added = stage.cell, stage.added
        if row is None or not cell.arm.has_trace or not added.image_set or not added.prompt or not cell.generation:
            continue
        try:
            curve = read_curve(store, added.image_set, added.prompt, cell.generation.prompt_kind)
        except (GoodshotError, OSError):
            # A row may outlive the artifacts it was made from; it is worth logging all the same.
            continue
        similarities = zip(curve.iterations, curve.similarity, strict=True)
        name = f"{cell.category}/support_{cell.support_seed}/similarity"
        curves[name] = {int(iteration): float(value) for iteration, value in similarities}
    finished = [row for row in rows if row is not None]
    return Tracked(study, point_label(values), dict(values), summarise(finished), curves)


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The mean of every metric per category and arm."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, float) and math.isfinite(value):
                groups.setdefault(f"{row['category']}/{row['arm']}/{name}", []).append(value)
    return {name: sum(values) / len(values) for name, values in groups.items()}


class Tracker:
    """Writes W&B runs one after the other. A failure to log is counted, never a reason to lose a result."""

    def __init__(self, folder: str, mode: str) -> None:
        # Without Ray this is the process of the run itself, which goes on afterwards.
        self._before = tempfile.tempdir, {name: os.environ.get(name) for name in ENVIRONMENT}
        # The environment variable decides, not wandb.init's argument: without a key any other state fails.
        os.environ["WANDB_MODE"] = mode
        os.environ["WANDB_DIR"] = folder
        # wandb empties its temporary folders when its process exits by itself, which an actor's does not. The system's
        # own folder, because a socket goes there too, whose path must be short.
        self._temporary = os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="goodshot-")
        self.folder, self.logged, self.failed, self.error = folder, 0, 0, ""

    def log(
        self, study: str, values: Mapping[str, Any], cells: Sequence[CellStage], rows: Rows, store_uri: str
    ) -> None:
        """One run of a point: configuration, curves, summary."""
        import wandb

        try:
            trial = tracked(study, values, cells, rows, Store(store_uri))
            run = wandb.init(
                project="goodshot",
                group=trial.study,
                name=trial.name,
                config=dict(trial.config),
                dir=self.folder,
                reinit="create_new",
            )
            for iteration in sorted({i for curve in trial.curves.values() for i in curve}):
                run.log({k: c[iteration] for k, c in trial.curves.items() if iteration in c}, step=iteration)
            run.summary.update(dict(trial.summary))
            run.finish()
            self.logged += 1
        except Exception as error:
            self.failed += 1
            self.error = self.error or f"{type(error).__name__}: {error}".splitlines()[0]

    def finish(self) -> tuple[int, int, str]:
        """Runs logged, runs that failed and the first one's error, after everything sent before; the last call."""
        if "wandb" in sys.modules:
            with suppress(Exception):
                sys.modules["wandb"].teardown()
        shutil.rmtree(self._temporary, ignore_errors=True)
        tempfile.tempdir, environment = self._before
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        return self.logged, self.failed, self.error
