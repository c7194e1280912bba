"""The state of a job as a dashboard knows it, for users who cannot read the job's ``--out``."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from ray.dashboard.modules.job.pydantic_models import JobDetails

from goodshot.runner.store.files import public
from goodshot.runner.submission.jobs import Client, Refused, Unanswered
from goodshot.runner.submission.submission import KEY

LINES = 3
"""The number of lines of a job's output that are shown."""
_PROGRESS = re.compile(r"cells \d+/\d+ · ")
"""The beginning of a progress line, which a run prints if it has no terminal."""


@dataclass(frozen=True)
class JobState:
    """The state of a job whose status file cannot be read.

    job: the id of the job.
    state: ``pending``, ``running``, ``succeeded``, ``failed`` or ``stopped``.
    study: the study that the job runs; empty if its command is not a command of goodshot.
    entrypoint: the whole command of the job.
    out: the job's ``--out``, which cannot be read from this machine.
    problem: why ``out`` cannot be read.
    started, ended: the times of start and end in ISO format, in UTC; None before.
    exit_code: the exit code of the command; None before the job has ended.
    log: the last progress lines of the job's output, or its last lines if there are no progress lines.
    """

    job: str
    state: str
    study: str
    entrypoint: str
    out: str
    problem: str
    started: str | None
    ended: str | None
    exit_code: int | None
    log: Sequence[str]

    @property
    def has_failed(self) -> bool:
        """Whether the job ended without all of its results."""
        return self.state in ("failed", "stopped")

    @property
    def has_ended(self) -> bool:
        """Whether the job ended, successfully or not."""
        return self.has_failed or self.state == "succeeded"

    @property
    def notice(self) -> str:
        """The reason, as one line, why the state has no further details."""
        return f"this is what the dashboard knows; the full picture needs --out to be visible from here: {self.problem}"

    def to_json(self) -> str:
        """Return the fields as one JSON object, with ``source: dashboard``, which a run's status file does not have."""
        return json.dumps({"source": "dashboard", **asdict(self), "notice": self.notice}, indent=1)


def job_state(client: Client, job: JobDetails, out: str, problem: str) -> JobState:
    """Ask the dashboard for the output of a job, and return it together with the details of the job.

    Args:
        problem: why ``out`` cannot be read from this machine.
    """
    id_, entrypoint = str(job.submission_id), public(job.entrypoint or "")
    study = str((job.metadata or {}).get(KEY) or _study_of(entrypoint))
    output = ""
    # A pending job has no output yet, and the output of a job is lost with its node.
    with suppress(Refused, Unanswered):
        output = public(client.get_job_logs(id_) or "")
    return JobState(
        id_, job.status.value.lower(), study, entrypoint, public(out), public(problem),
        _time(job.start_time), _time(job.end_time), job.driver_exit_code, _last_lines(output),
    )  # fmt: skip


def _study_of(entrypoint: str) -> str:
    with suppress(ValueError):
        words = shlex.split(entrypoint)
        if "sweep" in words[:-1]:
            return words[words.index("sweep") + 1]
    return ""


def _last_lines(output: str) -> tuple[str, ...]:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return tuple(([line for line in lines if _PROGRESS.match(line)] or lines)[-LINES:])


def _time(milliseconds: int | None) -> str | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat() if milliseconds else None
