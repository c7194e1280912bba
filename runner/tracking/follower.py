"""Follow the points of studies: read finished results from ``--out`` and the store, and log them to W&B runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import singledispatchmethod
from typing import Any

from goodshot.components.errors import GoodshotError
from goodshot.runner.plan.plan import point_label
from goodshot.runner.results.results import Results
from goodshot.runner.store.artifacts import Store
from goodshot.runner.store.fingerprint import fingerprint
from goodshot.runner.store.leases import BEAT_SECONDS, Leases
from goodshot.runner.tracking.content import code, configuration, read_rows
from goodshot.runner.tracking.messages import Logged, Message, PointBegun, PointEnded, Started, StudyBegun, StudyEnded
from goodshot.runner.tracking.point_run import PointRun, artifact_name
from goodshot.runner.tracking.record import RunRecord, RunRecords
from goodshot.runner.tracking.wandb_runs import Names, WandbRuns

INTERRUPTED = 1
"""The exit code of a W&B run with unfinished cells; W&B shows the run as failed until it is continued."""


class Follower:
    """Handles the messages of a driver. Errors of W&B are counted and never stop anything."""

    def __init__(self, started: Started) -> None:
        self._results: Results = started.results
        self._store, self._report = Store(started.store_uri), started.report
        self._records = RunRecords(started.results.files)
        self._wandb = WandbRuns(started.folder, started.mode, Names.of_environment())
        self._studies: dict[str, StudyBegun] = {}
        self._points: dict[tuple[str, str], PointRun] = {}
        self._logged = Logged()
        self._leases = Leases(started.results.uri)
        """One for each open run: of two drivers that share an --out, one writes a point's run."""
        threading.Thread(target=self._renew_leases, daemon=True).start()

    @property
    def logged(self) -> Logged:
        """The numbers of W&B runs that were written and that failed so far, and the first error."""
        return replace(self._logged, unreachable=self._wandb.unreachable)

    @singledispatchmethod
    def handle(self, message: Message) -> None:
        """Handle one message."""
        raise TypeError(f"unknown message {message!r}")

    @handle.register
    def _(self, message: StudyBegun) -> None:
        self._studies[message.name] = message

    @handle.register
    def _(self, message: PointBegun) -> None:
        if message.cells:
            id_ = self._records.id_of(message.study, message.key)
            if not self._leases.take(_lease_of(id_)):
                return
            kept = self._records.read(id_) or self._new_record(id_, message.study, message.key, message.label)
            followed = PointRun(self._studies[message.study], message, self._of_this_project(kept))
            self._points[message.study, message.key] = followed
            self._attempt(lambda: self._follow(followed))

    @handle.register
    def _(self, message: PointEnded) -> None:
        followed = self._points.pop((message.study, message.key), None)
        if followed is None:
            return
        if not followed.is_known:
            self._attempt(lambda: self._end(followed, message.iterations), is_run=True)
        self._leases.release(_lease_of(followed.kept.id))

    @handle.register
    def _(self, message: StudyEnded) -> None:
        lease = _lease_of(self._records.id_of(message.study, ""))
        if self._leases.take(lease):
            self._attempt(lambda: self._sum_up(message))
            self._leases.release(lease)

    def look(self) -> None:
        """Log the cells that have finished since the last call."""
        for followed in self._points.values():
            if not followed.is_known:
                self._attempt(lambda followed=followed: self._follow(followed))  # type: ignore[misc]

    def finish(self) -> None:
        """Close the runs that are still open because their study was interrupted."""
        for study, key in list(self._points):
            self.handle(PointEnded(study, key))
        self._leases.close()

    def _renew_leases(self) -> None:
        while True:
            time.sleep(BEAT_SECONDS)
            # A lost lease is no reason to stop: the other driver's run then has what this one lacks, and more.
            with suppress(OSError, GoodshotError):
                self._leases.renew()

    def tear_down(self) -> None:
        """End W&B's own process."""
        import wandb

        wandb.teardown()

    def _attempt(self, write: Callable[[], None], is_run: bool = False) -> None:
        """Call ``write``. If it fails online for any reason, repeat it offline and write all further runs offline."""
        try:
            try:
                write()
            except Exception as error:
                if self._wandb.mode != "online":
                    raise
                self._wandb.go_offline(_first_line(error))
                write()
        except Exception as error:
            first = self._logged.error or _first_line(error)
            self._logged = replace(self._logged, failed=self._logged.failed + is_run, error=first)
        else:
            self._logged = replace(self._logged, written=self._logged.written + is_run)

    def _follow(self, followed: PointRun) -> None:
        """Log the finished cells of a point. If the server was lost, the point's run is begun again offline."""
        if followed.is_known:
            return
        self._read_new(followed)
        if followed.run is None or followed.mode != self._wandb.mode:
            config = configuration(followed.study, followed.point.values, self._report)
            run = self._open(followed.kept, "point", config)
            followed.begin(run, self._wandb.mode)
        followed.log_new(self._store)

    def _end(self, followed: PointRun, iterations: int | None) -> None:
        self._follow(followed)
        followed.end(self._results.tables.row.names, iterations)
        self._wandb.close(followed.run, 0 if followed.is_complete else INTERRUPTED)
        self._records.write(followed.record)

    def _read_new(self, followed: PointRun) -> None:
        missing = [f for f in followed.cells if f not in followed.rows]
        finished = self._results.finished() if missing else set()
        followed.rows |= read_rows(self._results, [f for f in missing if f in finished])

    def _sum_up(self, ended: StudyEnded) -> None:
        """Write the run of the whole study, with a table of its points and the configuration of the best point."""
        import wandb

        study, id_ = self._studies[ended.study], self._records.id_of(ended.study, "")
        kept = self._of_this_project(self._records.read(id_) or self._new_record(id_, ended.study))
        content = fingerprint("wandb_summary", 1, {"trials": repr(ended.trials), "chosen": repr(ended.chosen)}, {})[:16]
        if kept.content == content:
            return
        run = self._open(kept, "study", {"study": study.declared, "report": self._report, "code": code()})
        fields = list(dict.fromkeys(name for _, values, _, _ in ended.trials for name in values))
        names = [*fields, "state", ended.objective, "run"]
        data = [
            [*(_plain(values.get(name)) for name in fields), state, value, self._records.id_of(ended.study, key)]
            for key, values, state, value in ended.trials
        ]
        run.log({"points": wandb.Table(columns=names, data=data, allow_mixed_types=True)})
        if ended.chosen is not None:
            key, values, text = ended.chosen
            artifact = wandb.Artifact(artifact_name(ended.study), type="configuration", metadata=dict(values))
            with artifact.new_file(f"{ended.study}.yaml") as file:
                file.write(text)
            run.log_artifact(artifact)
            own = self._records.read(self._records.id_of(ended.study, key))
            best = {"point": point_label(values), "run": self._records.id_of(ended.study, key)}
            run.summary.update({f"chosen/{k}": v for k, v in {**best, "url": own.url if own else ""}.items() if v})
        self._wandb.close(run, 0)
        self._records.write(replace(kept.at(run), content=content))

    def _open(self, record: RunRecord, job_type: str, config: dict[str, Any]) -> Any:
        notes = f"Report: {self._report}"
        return self._wandb.open(record.id, record.study, record.label or record.study, job_type, config, notes)

    def _new_record(self, id_: str, study: str, key: str = "", label: str = "") -> RunRecord:
        return RunRecord(id_, study, key, label, self._wandb.names.project, self._wandb.names.entity)

    def _of_this_project(self, kept: RunRecord) -> RunRecord:
        """Return the record, or an empty record if the run was written to another W&B project."""
        names = self._wandb.names
        if kept.project == names.project and names.entity in (None, kept.entity):
            return kept
        return self._new_record(kept.id, kept.study, kept.point, kept.label)


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str | bool | None) else str(value)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _lease_of(id_: str) -> str:
    return f"wandb/{id_}"
