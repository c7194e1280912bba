"""Jobs of a cluster: submit a job or find one that already runs the same study, list all jobs, and stop a job."""

from __future__ import annotations

import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from ray.dashboard.modules.job.pydantic_models import JobDetails
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from goodshot.components.errors import BadInput, GoodshotError
from goodshot.runner.store.files import public
from goodshot.runner.submission.dashboard import VARIABLES, Dashboard
from goodshot.runner.submission.submission import Submission

for _name in ("job.sdk", "dashboard_sdk"):
    # These loggers set their level when they are imported, and then report each upload and connection.
    logging.getLogger(f"ray.dashboard.modules.{_name}").setLevel(logging.ERROR)

CONNECT_SECONDS = 3.05
ANSWER_SECONDS = {"GET": 8.0, "POST": 60.0, "PUT": 600.0}
"""Time limits by HTTP method: GET for a question, POST to start or stop a job, PUT to send a package."""
STOPPED = 143
"""The exit code of a stopped job, equal to the exit code of a process that SIGTERM ended."""
STOP_SECONDS = 45.0
"""How long a job may take to end."""
START_SECONDS = 30.0
"""How long a head that was just started may take until it accepts jobs."""
POLL_SECONDS = 0.5


class Unanswered(GoodshotError):
    """The dashboard did not answer a request.

    is_slow: whether the dashboard accepted the connection, and so may be busy instead of lost.
    """

    def __init__(self, message: str, is_slow: bool) -> None:
        super().__init__(message)
        self.is_slow = is_slow


class Refused(GoodshotError):
    """The dashboard answered a request with an error."""

    def __init__(self, status: int, text: str) -> None:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        super().__init__(f"the cluster refuses (HTTP {status}): {public(lines[-1]) if lines else 'no reason given'}")
        self.status, self.text = status, text


class Client(JobSubmissionClient):
    """Ray's client for jobs, with a time limit for each request and with one-line errors."""

    def __init__(self, dashboard: Dashboard) -> None:
        self.dashboard = dashboard
        with _addressed_to(dashboard.url):
            super().__init__(dashboard.url, headers=dict(dashboard.headers))

    def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
        limits = (CONNECT_SECONDS, ANSWER_SECONDS.get(method, 8.0))
        try:
            return super()._do_request(method, endpoint, timeout=limits, **options)
        except AuthenticationError:
            raise BadInput(f"{self.dashboard.where}: the cluster no longer accepts this token") from None
        except requests.RequestException as error:
            problem = f"the dashboard stopped answering ({type(error).__name__})"
            line = f"{self.dashboard.where}: {problem}; is the cluster's head alive?"
            raise Unanswered(line, isinstance(error, requests.ReadTimeout)) from None

    def _raise_error(self, r: requests.Response) -> None:
        raise Refused(r.status_code, r.text)


@contextmanager
def _addressed_to(url: str) -> Iterator[None]:
    """Set Ray's environment variable for the address during a ``with`` block, and restore its variables at the end.

    Ray's client prefers this variable to the address that it is given as an argument.
    """
    before = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    os.environ[VARIABLES[0]] = url
    try:
        yield
    finally:
        del os.environ[VARIABLES[0]]
        os.environ.update(before)


@dataclass(frozen=True)
class Submitted:
    """A job that runs a submission.

    is_new: whether this call has started the job; False if it was pending or running already.
    is_same: whether the job runs the code and the options of this submission.
    """

    id: str
    is_new: bool
    is_same: bool = True


def submit(client: Client, submission: Submission) -> Submitted:
    """Start a job, unless a job for the same submission is pending or running; its id begins with the same text.

    Raises:
        BadInput: a job with the chosen id runs another study.
        GoodshotError: the cluster does not answer or refuses.
    """
    jobs = _with_first_id(client, submission.first_id)
    for job in jobs.values():
        if not job.status.is_terminal():
            _require_same(job, submission)
            return Submitted(str(job.submission_id), False, _runs_the_same(job, submission))
    job_id = _next_id(submission.first_id, jobs)
    with tempfile.TemporaryDirectory(prefix="goodshot-") as folder:
        archive = Path(folder) / "package.zip"
        archive.write_bytes(submission.package.archive)
        try:
            _send(client, submission, job_id, str(archive))
        except Refused as refusal:
            # Another user has submitted a job with this id since the jobs were listed.
            if "already exists" not in refusal.text:
                raise
            job = find(client, job_id)
            _require_same(job, submission)
            return Submitted(job_id, False, _runs_the_same(job, submission))
    return Submitted(job_id, True)


def _send(client: Client, submission: Submission, job_id: str, archive: str) -> None:
    """Submit a job. The request is repeated for :data:`START_SECONDS`, because a new head takes time to accept jobs."""
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            client.submit_job(
                entrypoint=submission.entry_point,
                submission_id=job_id,
                runtime_env={**submission.runtime_env, "working_dir": archive},
                metadata=dict(submission.metadata),
            )
        except Refused as refusal:
            if "No available agent" not in refusal.text or time.monotonic() > until:
                raise
            time.sleep(POLL_SECONDS)
        else:
            return


def find(client: Client, job_id: str) -> JobDetails:
    """Return the job with this id. Raises :class:`BadInput` if there is none."""
    try:
        return client.get_job_info(job_id)
    except Refused as refusal:
        if refusal.status != 404:
            raise
        remedy = "'goodshot jobs' lists them; a cluster that was started anew has forgotten its jobs"
        raise BadInput(f"job {job_id}: does not exist on this cluster; {remedy}") from None


def submitted_jobs(client: Client) -> Sequence[JobDetails]:
    """Return all submitted jobs, from goodshot and from other programs, the latest first."""
    jobs = [job for job in client.list_jobs() if job.submission_id]
    return sorted(jobs, key=lambda job: job.start_time or 0, reverse=True)


def stop(client: Client, job_id: str) -> JobDetails:
    """Stop a job and wait until it has ended. A job that has ended already is returned unchanged.

    Raises:
        GoodshotError: the job has not ended within :data:`STOP_SECONDS`.
    """
    if not find(client, job_id).status.is_terminal():
        client.stop_job(job_id)
    until = time.monotonic() + STOP_SECONDS
    while not (job := find(client, job_id)).status.is_terminal():
        if time.monotonic() > until:
            raise GoodshotError(f"job {job_id}: has not ended within {STOP_SECONDS:g} s; 'goodshot jobs' shows it")
        time.sleep(POLL_SECONDS)
    return job


def exit_code(job: JobDetails) -> int:
    """Return the exit code of a job's command; :data:`STOPPED` for a stopped job, 1 if the command never ran."""
    if job.status == JobStatus.STOPPED:
        return STOPPED
    if job.driver_exit_code is not None:
        # A process that a signal ended has a negative code here; a shell states 128 plus the signal.
        code = int(job.driver_exit_code)
        return code if code >= 0 else 128 - code
    return 0 if job.status == JobStatus.SUCCEEDED else 1


def _with_first_id(client: Client, first_id: str) -> dict[str, JobDetails]:
    pattern = re.compile(rf"{re.escape(first_id)}(-\d+)?")
    return {id_: job for job in submitted_jobs(client) if (id_ := job.submission_id) and pattern.fullmatch(id_)}


def _next_id(first_id: str, taken: dict[str, JobDetails]) -> str:
    if not taken:
        return first_id
    return f"{first_id}-{max(int(name[len(first_id) + 1 :] or 1) for name in taken) + 1}"


def _require_same(job: JobDetails, submission: Submission) -> None:
    if (job.metadata or {}).get("goodshot_fingerprint") != submission.fingerprint:
        raise BadInput(f"--id {submission.first_id}: job {job.submission_id} runs something else; choose another id")


def _runs_the_same(job: JobDetails, submission: Submission) -> bool:
    """Return whether a job of the same study runs the same code and options; True if an older version started it."""
    return bool((job.metadata or {}).get("goodshot_runs", submission.runs) == submission.runs)
