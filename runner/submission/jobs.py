"""The jobs of a cluster: submit one, or find the one that already runs the same; list them, and stop one."""

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
    # They set their own level when they are imported, and tell of each upload and connection.
    logging.getLogger(f"ray.dashboard.modules.{_name}").setLevel(logging.ERROR)

CONNECT_SECONDS = 3.05
ANSWER_SECONDS = {"GET": 8.0, "POST": 60.0, "PUT": 600.0}
"""How long a dashboard may take to answer a question, to start or stop a job, and to receive a package."""
STOPPED = 143
"""The exit code of a stopped job: that of a process that SIGTERM ended."""
STOP_SECONDS = 45.0
START_SECONDS = 30.0
"""How long a job may take to end, and a head that was started to take jobs."""
POLL_SECONDS = 0.5


class Unanswered(GoodshotError):
    """The dashboard did not answer a request. ``is_slow``: it took the request, so that it may only be busy."""

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
    """Ray's client, with a time limit for each request, and errors of one line."""

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
    """Ray's variables for the address win over its client's argument, so they say the same meanwhile."""
    before = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    os.environ[VARIABLES[0]] = url
    try:
        yield
    finally:
        del os.environ[VARIABLES[0]]
        os.environ.update(before)


@dataclass(frozen=True)
class Submitted:
    """A job that runs a submission. ``is_new``: this call started it."""

    id: str
    is_new: bool


def submit(client: Client, submission: Submission) -> Submitted:
    """Start a job, unless one with the same id prefix, which computes the same, is pending or running.

    Raises:
        BadInput: a job with the chosen id runs another study.
        GoodshotError: the cluster does not answer or refuses.
    """
    jobs = _with_first_id(client, submission.first_id)
    for job in jobs.values():
        if not job.status.is_terminal():
            _require_same(job, submission)
            return Submitted(str(job.submission_id), False)
    job_id = _next_id(submission.first_id, jobs)
    with tempfile.TemporaryDirectory(prefix="goodshot-") as folder:
        archive = Path(folder) / "package.zip"
        archive.write_bytes(submission.package.archive)
        try:
            _send(client, submission, job_id, str(archive))
        except Refused as refusal:
            # Somebody else has submitted the same meanwhile.
            if "already exists" not in refusal.text:
                raise
            _require_same(find(client, job_id), submission)
            return Submitted(job_id, False)
    return Submitted(job_id, True)


def _send(client: Client, submission: Submission, job_id: str, archive: str) -> None:
    """Submit a job; a head that has just been started is given the time until it takes jobs."""
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
    """The job with this id. Raises :class:`BadInput` if there is none."""
    try:
        return client.get_job_info(job_id)
    except Refused as refusal:
        if refusal.status != 404:
            raise
        remedy = "'goodshot jobs' lists them; a cluster that was started anew has forgotten its jobs"
        raise BadInput(f"job {job_id}: does not exist on this cluster; {remedy}") from None


def submitted_jobs(client: Client) -> Sequence[JobDetails]:
    """All jobs that were submitted, by whatever command, the latest first."""
    jobs = [job for job in client.list_jobs() if job.submission_id]
    return sorted(jobs, key=lambda job: job.start_time or 0, reverse=True)


def stop(client: Client, job_id: str) -> JobDetails:
    """Ask a job to end and wait until it has; one that has ended stays as it is."""
    if not find(client, job_id).status.is_terminal():
        client.stop_job(job_id)
    until = time.monotonic() + STOP_SECONDS
    while not (job := find(client, job_id)).status.is_terminal():
        if time.monotonic() > until:
            raise GoodshotError(f"job {job_id}: has not ended within {STOP_SECONDS:g} s; 'goodshot jobs' shows it")
        time.sleep(POLL_SECONDS)
    return job


def exit_code(job: JobDetails) -> int:
    """The exit code of the job's own command; :data:`STOPPED` of a stopped job, 1 of one whose command never ran."""
    if job.status == JobStatus.STOPPED:
        return STOPPED
    if job.driver_exit_code is not None:
        return int(job.driver_exit_code)
    return 0 if job.status == JobStatus.SUCCEEDED else 1


def _with_first_id(client: Client, first_id: str) -> dict[str, JobDetails]:
    pattern = re.compile(rf"{re.escape(first_id)}(-\d+)?")
    return {job.submission_id: job for job in submitted_jobs(client) if pattern.fullmatch(job.submission_id)}


def _next_id(first_id: str, taken: dict[str, JobDetails]) -> str:
    if not taken:
        return first_id
    return f"{first_id}-{max(int(name[len(first_id) + 1 :] or 1) for name in taken) + 1}"


def _require_same(job: JobDetails, submission: Submission) -> None:
    if (job.metadata or {}).get("goodshot_fingerprint") != submission.fingerprint:
        raise BadInput(f"--id {submission.first_id}: job {job.submission_id} runs something else; choose another id")
