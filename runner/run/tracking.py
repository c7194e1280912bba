"""Log trials to W&B, one W&B run for each."""

from __future__ import annotations

import math
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from goodshot.components.errors import GoodshotError
from goodshot.runner.cells import CellStage
from goodshot.runner.cluster.sockets import socket_folder
from goodshot.runner.plan.plan import point_label
from goodshot.runner.stages.traces import read_curve
from goodshot.runner.store.artifacts import Store

ENVIRONMENT = ("WANDB_MODE", "WANDB_DIR", "WANDB_INIT_TIMEOUT", "WANDB_RUN_ID", "WANDB_RESUME", "TMPDIR")
"""The environment variables that a :class:`Tracker` sets for W&B, or removes, and restores when it finishes."""
INIT_SECONDS = 30
"""How long the first run waits for W&B's server, unless ``WANDB_INIT_TIMEOUT`` says otherwise; W&B's own is 90."""
LONGEST = 128
"""The most characters that W&B takes for the name of a run; its configuration has all values of the point."""
Rows = Sequence[Mapping[str, Any] | None]


@dataclass(frozen=True)
class Logged:
    """What became of the W&B runs: the numbers of those written and not written, and the first error.

    ``unreachable`` is why the runs were written offline although they should have been sent; empty if they were sent.
    """

    written: int = 0
    failed: int = 0
    error: str = ""
    unreachable: str = ""


@dataclass(frozen=True)
class Names:
    """W&B's own variables that name a run: ``WANDB_PROJECT``, ``…ENTITY``, ``…RUN_GROUP``, ``…NAME`` and ``…TAGS``.

    They are read in the driver, because an actor may run on a node that lacks them. The group is the study unless it is
    set. ``name`` precedes each point's, because a study writes several runs.
    """

    project: str = "goodshot"
    entity: str | None = None
    group: str | None = None
    name: str | None = None
    tags: tuple[str, ...] = ()

    @classmethod
    def of_environment(cls) -> Names:
        """The names that the environment sets."""
        get = os.environ.get
        tags = tuple(tag.strip() for tag in (get("WANDB_TAGS") or "").split(",") if tag.strip())
        project = get("WANDB_PROJECT") or "goodshot"
        return cls(project, get("WANDB_ENTITY"), get("WANDB_RUN_GROUP"), get("WANDB_NAME"), tags)


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
    """Writes W&B runs one after another. Errors of W&B are counted and never stop a study.

    If a run cannot be sent, it and all later ones are written offline, so that W&B's timeout is waited for once.
    """

    def __init__(self, folder: str, mode: str, names: Names) -> None:
        # Without Ray this is the process of the run itself, so the environment is restored in `finish`.
        self._original = tempfile.tempdir, {name: os.environ.get(name) for name in ENVIRONMENT}
        # Without a key, W&B fails if the mode is only an argument of wandb.init.
        os.environ["WANDB_MODE"] = mode
        os.environ["WANDB_DIR"] = folder
        os.environ.setdefault("WANDB_INIT_TIMEOUT", str(INIT_SECONDS))
        # All points would be one and the same run.
        for name in ("WANDB_RUN_ID", "WANDB_RESUME"):
            os.environ.pop(name, None)
        # wandb deletes its temporary files when its process exits normally, which an actor does not: `finish` deletes
        # them. They are in a short folder, because one of them is a socket.
        self._temporary = tempfile.mkdtemp(prefix="goodshot-", dir=socket_folder())
        os.environ["TMPDIR"] = tempfile.tempdir = self._temporary
        self.folder, self.names, self.logged = folder, names, Logged()

    def log(
        self, study: str, values: Mapping[str, Any], cells: Sequence[CellStage], rows: Rows, store_uri: str
    ) -> None:
        """Write the W&B run of one point: configuration, curves and summary."""
        try:
            trial = tracked(study, values, cells, rows, Store(store_uri))
            self._write(trial)
            self.logged = replace(self.logged, written=self.logged.written + 1)
        except Exception as error:
            first = self.logged.error or _first_line(error)
            self.logged = replace(self.logged, failed=self.logged.failed + 1, error=first)

    def _write(self, trial: Tracked) -> None:
        from wandb.errors import AuthenticationError, CommError

        try:
            run = self._begin(trial)
        except (CommError, AuthenticationError, TimeoutError) as error:
            if os.environ["WANDB_MODE"] != "online":
                raise
            os.environ["WANDB_MODE"] = "offline"
            self.logged = replace(self.logged, unreachable=_first_line(error))
            _tear_down()
            run = self._begin(trial)
        for iteration in sorted({i for curve in trial.curves.values() for i in curve}):
            run.log({k: c[iteration] for k, c in trial.curves.items() if iteration in c}, step=iteration)
        run.summary.update(dict(trial.summary))
        run.finish()

    def _begin(self, trial: Tracked) -> Any:
        import wandb

        return wandb.init(
            project=self.names.project,
            entity=self.names.entity,
            group=self.names.group or trial.study,
            name=(f"{self.names.name} {trial.name}" if self.names.name else trial.name)[:LONGEST],
            tags=self.names.tags,
            config=dict(trial.config),
            dir=self.folder,
            reinit="create_new",
        )

    def finish(self) -> Logged:
        """End W&B and restore the environment; returns what became of the runs."""
        _tear_down()
        shutil.rmtree(self._temporary, ignore_errors=True)
        tempfile.tempdir, environment = self._original
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        return self.logged


def _tear_down() -> None:
    """End W&B's process, so that the next run reads the environment anew."""
    if "wandb" in sys.modules:
        with suppress(Exception):
            sys.modules["wandb"].teardown()


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
