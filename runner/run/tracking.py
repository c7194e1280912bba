"""Log trials to W&B, one W&B run for each."""

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
"""The environment variables that a :class:`Tracker` sets for W&B and restores when it finishes."""
Rows = Sequence[Mapping[str, Any] | None]


@dataclass(frozen=True)
class Tracked:
    """The content of one W&B run: its group (``study``), name, configuration, summary, and curves over iterations l."""

    study: str
    name: str
    config: Mapping[str, Any]
    summary: Mapping[str, float]
    curves: Mapping[str, Mapping[int, float]]


def tracked(study: str, values: Mapping[str, Any], cells: Sequence[CellStage], rows: Rows, store: Store) -> Tracked:
    """The W&B run of one point: mean metrics, and the similarity trace of each training over the scored iterations."""
    curves = {}
    for stage, row in zip(cells, rows, strict=True):
        cell, added = stage.cell, stage.added
        if row is None or not cell.arm.has_trace or not added.image_set or not added.prompt or not cell.generation:
            continue
        try:
            curve = read_curve(store, added.image_set, added.prompt, cell.generation.prompt_kind)
        except (GoodshotError, OSError):
            # The artifacts of a row may have been deleted; the row is logged without its curve.
            continue
        similarities = zip(curve.iterations, curve.similarity, strict=True)
        name = f"{cell.category}/support_{cell.support_seed}/similarity"
        curves[name] = {int(iteration): float(value) for iteration, value in similarities}
    finished = [row for row in rows if row is not None]
    return Tracked(study, point_label(values), dict(values), summarise(finished), curves)


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The means of all finite float columns, by ``category/arm/column``."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, float) and math.isfinite(value):
                groups.setdefault(f"{row['category']}/{row['arm']}/{name}", []).append(value)
    return {name: sum(values) / len(values) for name, values in groups.items()}


class Tracker:
    """Writes W&B runs one after another. Errors of W&B are counted and never stop a study."""

    def __init__(self, folder: str, mode: str) -> None:
        # Without Ray this is the process of the run itself, so the environment is restored in `finish`.
        self._original = tempfile.tempdir, {name: os.environ.get(name) for name in ENVIRONMENT}
        # Without a key, W&B fails if the mode is only an argument of wandb.init.
        os.environ["WANDB_MODE"] = mode
        os.environ["WANDB_DIR"] = folder
        # wandb deletes its temporary files when its process exits normally, which an actor does not: `finish` deletes
        # them. They are in the system's temporary folder, because the path of wandb's socket must be short.
        self._temporary = os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="goodshot-")
        self.folder, self.logged, self.failed, self.error = folder, 0, 0, ""

    def log(
        self, study: str, values: Mapping[str, Any], cells: Sequence[CellStage], rows: Rows, store_uri: str
    ) -> None:
        """Write the W&B run of one point: configuration, curves and summary."""
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
        """End W&B and restore the environment; returns the numbers of runs logged and failed, and the first error."""
        if "wandb" in sys.modules:
            with suppress(Exception):
                sys.modules["wandb"].teardown()
        shutil.rmtree(self._temporary, ignore_errors=True)
        tempfile.tempdir, environment = self._original
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        return self.logged, self.failed, self.error
