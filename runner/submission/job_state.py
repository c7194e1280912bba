"""What a dashboard knows of a job, for who cannot see the folder to which it writes."""

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
"""How many lines of a job's output are shown."""
_PROGRESS = re.compile(r"cells \d+/\d+ · ")
"""How a line begins in which a run without a terminal says how far it is."""


@dataclass(frozen=True)
class JobState:
    """A job without its status file.

    job: its id. state: ``pending``, ``running``, ``succeeded``, ``failed`` or ``stopped``.
    study: what its command runs; empty if the command is not goodshot's. entrypoint: the whole command.
    out: its ``--out``, which cannot be read from here. problem: why not.
    started, ended: in ISO format, in UTC; None before.
    exit_code: of its command; None before it ended.
    log: the last lines of its output that say how far it is, or, if none does, its last lines.
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
        """Whether it ended without all of its results."""
        return self.state in ("failed", "stopped")

    @property
    def has_ended(self) -> bool:
        """Whether it ended, in whatever way."""
        return self.has_failed or self.state == "succeeded"

    @property
    def notice(self) -> str:
        """Why there is no more, as one line."""
        return f"this is what the dashboard knows; the full picture needs --out to be visible from here: {self.problem}"

    def to_json(self) -> str:
        """The fields as one JSON object, with ``source: dashboard``, which a run's own status file has not."""
        return json.dumps({"source": "dashboard", **asdict(self), "notice": self.notice}, indent=1)


def job_state(client: Client, job: JobDetails, out: str, problem: str) -> JobState:
    """Ask the dashboard for the output of a job, and combine it with what is known of the job.

    Args:
        problem: why ``out`` cannot be read from here.
    """
    id_, entrypoint = str(job.submission_id), public(job.entrypoint or "")
    study = str((job.metadata or {}).get(KEY) or _study_of(entrypoint))
    output = ""
    # A job that waits has no output yet, and a node that is gone has taken its output along.
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
