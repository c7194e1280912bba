"""Start the process that writes W&B runs, and send messages to it when points begin and end."""

from __future__ import annotations

import json
import math
import os
import pickle
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, cast

import goodshot
from goodshot.runner.cells import CellStage
from goodshot.runner.cluster.sockets import socket_folder
from goodshot.runner.plan.plan import Plan, Trial, point_key
from goodshot.runner.results.comparison import variant_label
from goodshot.runner.results.record import Recorder
from goodshot.runner.results.results import Results
from goodshot.runner.results.trials import Ledger, chosen, chosen_yaml
from goodshot.runner.store.files import below, public
from goodshot.runner.study.study import Study
from goodshot.runner.tracking.messages import (
    Logged,
    Message,
    Mode,
    PointBegun,
    PointEnded,
    Started,
    StudyBegun,
    StudyEnded,
    TrackedCell,
)

PATIENCE_SECONDS = 180.0
"""How long the end of a run waits for an answer of the process. W&B itself gives up earlier on sending a run."""
HASTE_SECONDS = 8.0
"""How long an interrupted run waits for the process, which continues to write after the driver has ended."""
JOIN_SECONDS, POLL_SECONDS = 5.0, 0.02
IN_WORDS = "the process that writes W&B runs"


class Tracker:
    """Writes a W&B run for each point, in a process that starts with the first point. Only `finish` blocks.

    Args:
        results: the tables below ``--out``, with a URI that is valid in any process.
        folder: the local folder for W&B's files, which lie in ``wandb/`` below it.
        mode: ``online`` or ``offline``.
    """

    def __init__(self, results: Results, store_uri: str, folder: Path, mode: Mode) -> None:
        self._results, self._store_uri, self._folder, self._mode = results, store_uri, folder, mode
        self._process: _Process | None = None
        self._studies: set[str] = set()

    def begin(self, study: Study, plan: Plan, trial: Trial) -> None:
        """Report to the process that the cells of a point, which are in the plan, are running or finished."""
        if study.name not in self._studies:
            self._studies.add(study.name)
            self._send(StudyBegun(study.name, _declared(study), _metrics(study, self._results)))
        recorder = Recorder(plan)
        cells = {
            iterations: tuple(_tracked(plan.cells[f], recorder) for f in fingerprints)
            for iterations, fingerprints in trial.cells.items()
        }
        self._send(PointBegun(study.name, trial.key, trial.label, dict(trial.values), cells))

    def end(self, study: Study, values: Mapping[str, Any], iterations: int | None = None) -> None:
        """Report to the process that no more cells of a point will run.

        Args:
            iterations: the L at which the point is judged; None for its largest L.
        """
        self._send(PointEnded(study.name, point_key(values), iterations))

    def conclude(self, study: Study) -> None:
        """Send the process the trials of all points of a study, and the best point."""
        if study.name not in self._studies:
            return
        records = Ledger(self._results, study).read()
        best = chosen(records)
        trials = [(point_key(r.values), r.point, r.state, r.best.value if r.best else None) for r in records]
        own = None if best is None else (point_key(best.values), best.point, chosen_yaml(study, best))
        self._send(StudyEnded(study.name, study.objective, trials, own))

    def finish(self, at_most: float = math.inf) -> Logged:
        """Wait until everything is written, and return the numbers of written and failed runs.

        Args:
            at_most: the maximum number of seconds to wait. The wait also ends if the process makes no progress.
        """
        return self._process.finish(PATIENCE_SECONDS, at_most) if self._process is not None else Logged()

    def _send(self, message: Message) -> None:
        if self._process is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._process = _Process(self._folder)
            report = public(below(self._results.files.shown, "report.html"))
            self._process.send(
                Started(self._results, self._store_uri, str(self._folder), self._process.temporary, self._mode, report)
            )
        self._process.send(message)


def _declared(study: Study) -> dict[str, Any]:
    declared: dict[str, Any] = json.loads(public(json.dumps(study.model_dump(mode="json"))))
    return declared


def _metrics(study: Study, results: Results) -> tuple[str, ...]:
    """Return the metrics that a study's rows may have as columns, and the column of the chosen iteration."""
    own = (metric for kind in study.own_kinds for metric in kind.metrics)
    metrics = dict.fromkeys((*results.tables.outcome[2:], *own, "chosen_iteration"))
    return tuple(name for name in metrics if name in results.tables.row.names)


def _tracked(stage: CellStage, recorder: Recorder) -> TrackedCell:
    cell, arm = stage.cell, stage.cell.arm
    support = f"seed_{cell.seed}" if cell.support_seed is None else f"support_{cell.support_seed}"
    variant = variant_label({**dict.fromkeys(arm.column_defaults), **stage.columns})
    has_trace = arm.has_trace and cell.generation is not None
    prompt_kind = cell.generation.prompt_kind if has_trace and cell.generation else None
    return TrackedCell(recorder.record(stage), support, variant, cell.copies, prompt_kind)


class _Process:
    """The process that writes W&B runs, and the pipes to and from the process."""

    def __init__(self, folder: Path) -> None:
        self.temporary = tempfile.mkdtemp(prefix="goodshot-", dir=socket_folder())
        command = [sys.executable, "-P", "-m", "goodshot.runner.tracking.process"]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        environment = _environment(str(folder), self.temporary)
        # The process has its own session, so that Ctrl-C reaches only the driver, which then ends the process.
        self._process = subprocess.Popen(command, env=environment, start_new_session=True, **pipes)
        self._to, self._from = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)
        self._messages: queue.Queue[Any] = queue.Queue()
        self._logged, self._answered = Logged(), time.monotonic()
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._write, self._read)]
        for thread in self._threads:
            thread.start()

    def send(self, message: object) -> None:
        self._messages.put(message)

    def finish(self, patience: float, at_most: float) -> Logged:
        """Wait ``at_most`` seconds for the process to end; kill it after ``patience`` seconds without an answer."""
        self._messages.put(None)
        began = time.monotonic()
        while self._process.poll() is None:
            now = time.monotonic()
            if now - began > at_most:
                return self._logged  # the process continues, handles all messages, and then ends
            if now - max(began, self._answered) > patience:
                self._process.kill()
                self._process.wait()
                return self._failed(f"{IN_WORDS} wrote nothing for {patience:.0f} s")
            time.sleep(POLL_SECONDS)
        for thread in self._threads:
            thread.join(JOIN_SECONDS)
        code = self._process.returncode
        return self._failed(f"{IN_WORDS} ended with code {code}") if code else self._logged

    def _failed(self, problem: str) -> Logged:
        shutil.rmtree(self.temporary, ignore_errors=True)
        return replace(self._logged, failed=self._logged.failed + 1, error=self._logged.error or problem)

    def _write(self) -> None:
        with suppress(OSError), self._to as pipe:
            while (message := self._messages.get()) is not None:
                pickle.dump(message, pipe)
                pipe.flush()

    def _read(self) -> None:
        with suppress(EOFError, pickle.UnpicklingError, OSError), self._from as pipe:
            while True:
                self._logged = pickle.load(pipe)  # noqa: S301  Only that process writes to it.
                self._answered = time.monotonic()


def _environment(folder: str, temporary: str) -> dict[str, str]:
    """Return the driver's environment, including W&B's API key, with further settings for W&B."""
    environment = dict(os.environ)
    # These variables would make all points one run, or use the W&B service of a notebook.
    for name in ("WANDB_RUN_ID", "WANDB_RESUME", "WANDB_SERVICE"):
        environment.pop(name, None)
    package = str(Path(goodshot.__path__[0]).parent)
    path = [package, *filter(None, [environment.get("PYTHONPATH")])]
    quiet = {"WANDB_SILENT": "true", "WANDB_CONSOLE": "off", "WANDB_ERROR_REPORTING": "false", "OMP_NUM_THREADS": "1"}
    # By default, W&B keeps copies of unsent artifacts below the home folder.
    own = {"WANDB_DIR": folder, "WANDB_DATA_DIR": str(Path(folder) / "wandb"), "PYTHONPATH": os.pathsep.join(path)}
    # One of W&B's temporary files is a socket, whose path must be short.
    return {**quiet, **environment, **own, "TMPDIR": temporary}
