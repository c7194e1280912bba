"""Commands that run a study on a cluster from a machine outside of it, through Ray Jobs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from goodshot.components.errors import BadInput
from goodshot.runner.cli.options import (
    NO_WORDS,
    InsecureLocal,
    Named,
    NoWords,
    Oracle,
    Quick,
    Roots,
    Settings,
    stdout,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ray.dashboard.modules.job.pydantic_models import JobDetails
    from rich.text import Text

    from goodshot.runner.results.prices import Prices
    from goodshot.runner.results.status import Status
    from goodshot.runner.store.files import Files
    from goodshot.runner.study.study import Study
    from goodshot.runner.submission.job_state import JobState
    from goodshot.runner.submission.jobs import Client
    from goodshot.runner.submission.submission import Submission

DETACHED = 130
"""The exit code of Ctrl-C, which does not stop the job."""

DashboardURL = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="The dashboard of the cluster, http://HOST:8265 (default: RAY_API_SERVER_ADDRESS, RAY_ADDRESS).",
        metavar="URL",
    ),
]
JobID = Annotated[str, typer.Argument(metavar="ID", help="The job's id, as 'submit' and 'jobs' print it.")]


def submit(
    study: Named,
    out: Annotated[str, typer.Option(help="Results: a URI, or an absolute path that all nodes share.", metavar="URI")],
    address: DashboardURL = None,
    settings: Settings = None,
    root: Roots = None,
    oracle: Oracle = False,
    no_words: NoWords = False,
    store: Annotated[
        str | None, typer.Option(help="Artifacts that studies share (default: OUT/store).", metavar="URI")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try cells again that have failed three times.")] = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="End at the first failed cell.")] = False,
    quick: Quick = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent; send nothing.")] = False,
    id_: Annotated[
        str | None, typer.Option("--id", help="The job's id (default: the study's name and a hash).", metavar="ID")
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not follow the job's output.")] = False,
    insecure_local: InsecureLocal = False,
) -> None:
    """Run a study on a cluster: send this code there as a Ray job, and follow it. Ctrl-C leaves it running.

    The exit code is the job's own; 143 if it was stopped, 130 after Ctrl-C, 3 if the cluster no longer answers. If the
    same study with the same --out runs already, that job is followed; one that ended is continued from its store.
    """
    from goodshot.runner.named import load_studies
    from goodshot.runner.submission.submission import Submission

    given = [*(settings or []), *(["oracle=true"] if oracle else []), *([NO_WORDS] if no_words else [])]
    _, declared = load_studies(study, given, quick, root or [])
    arguments = [
        *(f"--set={setting}" for setting in settings or []),
        *(f"--root={each}" for each in root or []),
        *_given(oracle=oracle, no_words=no_words, retry=retry, fail_fast=fail_fast),
        *_given(quick=quick, insecure_local=insecure_local),
    ]
    submission = Submission(study, declared, out, store, arguments, id_).checked()
    if dry_run:
        _print_dry_run(submission)
        return
    client = _client(address)
    if client.dashboard.is_open and not insecure_local:
        raise BadInput(
            f"{client.dashboard.where}: this cluster wants no token, so whoever reaches it runs code on it; start it "
            "with RAY_AUTH_MODE=token, or, if it is one of this machine only, add --insecure-local"
        )
    _submit(client, submission, no_wait)


def _given(**flags: bool) -> list[str]:
    """The options that are set, as they are written."""
    return [f"--{name.replace('_', '-')}" for name, is_set in flags.items() if is_set]


def _submit(client: Client, submission: Submission, no_wait: bool) -> None:
    from goodshot.components.download import readable
    from goodshot.runner.submission.jobs import submit as submit_job

    submitted = submit_job(client, submission)
    if submitted.is_new:
        _tell(f"job {submitted.id}: submitted, package of {readable(submission.package.size)}")
    else:
        _tell(f"job {submitted.id}: runs this study already; nothing was submitted")
        if not submitted.is_same:
            _tell("its code or options differ from yours: stop it and submit again to run yours; it continues")
    if no_wait:
        _tell(f"to follow it: {_attach_command(client, submitted.id)}")
        return
    _follow(client, submitted.id)


def submit_doctor(
    study: str, declared: Sequence[Study], address: str, out: str, store: str | None, given: Sequence[str]
) -> None:
    """Check a cluster's nodes for a study by a job there, and follow the job. Exits with the job's code."""
    from goodshot.runner.submission.submission import Submission

    submission = Submission(study, declared, out, store, ["--address=auto", *given], verb="doctor").checked()
    _submit(_client(address), submission, no_wait=False)


def attach(job: JobID, address: DashboardURL = None) -> None:
    """Follow a job's output from its start until it ends; the exit code is the job's own. Ctrl-C leaves it running."""
    from goodshot.runner.submission.jobs import find

    client = _client(address)
    find(client, job)
    _follow(client, job)


def jobs(address: DashboardURL = None) -> None:
    """List the jobs of a cluster, the latest first."""
    from rich.table import Table

    from goodshot.runner.submission.jobs import submitted_jobs
    from goodshot.runner.submission.submission import KEY

    table = Table(box=None, pad_edge=False)
    for column in ("id", "state", "exit code", "started", "took", "study", "out"):
        table.add_column(column, no_wrap=column not in ("study", "out"), overflow="fold")
    for job in submitted_jobs(_client(address)):
        metadata = job.metadata or {}
        code = "" if job.driver_exit_code is None else str(job.driver_exit_code)
        shown = (str(job.submission_id), job.status.value.lower(), code, *_times(job))
        table.add_row(*shown, metadata.get(KEY, ""), metadata.get("goodshot_out", ""))
    stdout().print(table)


def status(
    out: Annotated[
        str, typer.Argument(metavar="OUT|ID", help="The --out of a run, or the id of a job, as 'jobs' prints it.")
    ],
    address: DashboardURL = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every few seconds until the run ends.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print OUT/status.json, or the dashboard's answer, as JSON.")
    ] = False,
    gpu_hour: Annotated[
        float | None, typer.Option("--price-gpu-hour", help="The price of an hour of one GPU.", min=0)
    ] = None,
    cpu_hour: Annotated[
        float | None, typer.Option("--price-cpu-hour", help="The price of an hour of one CPU.", min=0)
    ] = None,
) -> None:
    """Show how far a run is: stages, nodes, the expected end and the cost. From anywhere that sees OUT.

    With a job's id, its --out is asked for at the dashboard; if that cannot be read from here, the job's state and the
    last lines of its output are shown instead. The exit code is 0 if the run goes on or is complete, and 1 if cells
    failed, it was stopped, or its driver gives no sign of life.
    """
    from goodshot.runner.results.prices import Prices

    prices = Prices(gpu_hour, cpu_hour)
    if "/" in out or "://" in out or _is_folder(out):
        found, problem = _readable(out)
        if found is None:
            raise BadInput(f"{problem}; give the --out of a run, or a job's id with --address")
        has_failed = _show(out, found, prices, watch, json)
    else:
        has_failed = _show_job(out, address, prices, watch, json)
    if has_failed:
        raise typer.Exit(1)


def _show_job(job_id: str, address: str | None, prices: Prices, watch: bool, json: bool) -> bool:
    """Show the status in a job's --out, or else what the dashboard knows. Returns whether the run has failed."""
    from goodshot.components.errors import GoodshotError

    client = _client(address)
    job = _found(client, job_id)
    out = str(job.metadata["goodshot_out"]) if job.metadata else ""
    _tell(f"job {job_id}: {job.status.value.lower()}, --out {out}")
    try:
        found, problem = _readable(out)
    except GoodshotError as error:  # its object store, or its mount, refuses this machine
        found, problem = None, str(error)
    if found is not None and _is_of_job(found, job):
        return _show(out, found, prices, watch, json) or _has_failed(job)
    if found is not None:
        problem = "the status there is that of an earlier run"
    return _show_job_state(client, job, out, problem, watch, json)


def _is_of_job(found: Status, job: JobDetails) -> bool:
    """Return whether a status in --out was written after the job had started."""
    return job.start_time is not None and found.written.timestamp() >= job.start_time / 1000


def _has_failed(job: JobDetails) -> bool:
    from goodshot.runner.submission.jobs import exit_code

    return job.status.is_terminal() and exit_code(job) != 0


def _readable(out: str) -> tuple[Status | None, str]:
    """The status in an --out, or why there is none."""
    from goodshot.runner.results.status import read_status
    from goodshot.runner.store.files import Files, absolute

    files = Files(absolute(out))
    return read_status(files), f"{files.shown}: holds no status.json"


def _show(out: str, found: Status, prices: Prices, watch: bool, json: bool) -> bool:
    """Show the status of a run. Returns whether it has failed."""
    from goodshot.runner.console.status import status_view
    from goodshot.runner.results.status import WRITE_SECONDS, read_status
    from goodshot.runner.store.files import Files, absolute

    if json:
        typer.echo(found.to_json())
    elif watch:
        files = Files(absolute(out))
        _watch(files, prices, WRITE_SECONDS)
        found = read_status(files) or found
    else:
        stdout().print(status_view(found, prices), highlight=False)
    return found.is_silent or found.state in ("incomplete", "stopped")


def _show_job_state(client: Client, job: JobDetails, out: str, problem: str, watch: bool, json: bool) -> bool:
    """Show what the dashboard knows of a job, with ``watch`` until it ends. Returns whether it has failed."""
    import time
    from contextlib import suppress

    from rich.live import Live

    from goodshot.runner.results.status import WRITE_SECONDS
    from goodshot.runner.submission.job_state import job_state
    from goodshot.runner.submission.jobs import find

    state = job_state(client, job, out, problem)
    if json:
        typer.echo(state.to_json())
    elif watch:
        with suppress(KeyboardInterrupt), Live(console=stdout(), auto_refresh=False) as live:
            live.update(_job_view(job, state), refresh=True)
            while not state.has_ended:
                time.sleep(WRITE_SECONDS)
                job = find(client, state.job)
                state = job_state(client, job, out, problem)
                live.update(_job_view(job, state), refresh=True)
    else:
        stdout().print(_job_view(job, state))
    return state.has_failed


def _job_view(job: JobDetails, state: JobState) -> Text:
    """The job's state, its study, when it started, and the last lines of its output."""
    from rich.text import Text

    started, took = _times(job)
    times = f", started {started}, {'took' if state.has_ended else 'for'} {took}" if started else ""
    code = "" if state.exit_code is None else f", exit code {state.exit_code}"
    what = state.study or state.entrypoint
    lines = (f"{what} as job {state.job}: {state.state}{code}{times}", *state.log, state.notice)
    return Text("\n".join(lines))


def _is_folder(name: str) -> bool:
    from pathlib import Path

    return Path(name).expanduser().is_dir()


def _found(client: Client, job_id: str) -> JobDetails:
    """The job with this id, whose --out is known."""
    from goodshot.runner.submission.jobs import find

    job = find(client, job_id)
    if not (job.metadata or {}).get("goodshot_out"):
        problem = "was not submitted by 'goodshot submit', so its --out is not known; give it instead"
        raise BadInput(f"job {job_id}: {problem}")
    return job


def _watch(files: Files, prices: Prices, seconds: float) -> None:
    """Show the status until the run ends or its driver has died. Ctrl-C ends it; the run goes on."""
    import time
    from contextlib import suppress

    from rich.live import Live

    from goodshot.runner.console.status import status_view
    from goodshot.runner.results.status import read_status

    with suppress(KeyboardInterrupt), Live(console=stdout(), auto_refresh=False) as live:
        while (found := read_status(files)) is not None:
            live.update(status_view(found, prices), refresh=True)
            if found.state != "running" or found.is_silent:
                return
            time.sleep(seconds)


def stop(job: JobID, address: DashboardURL = None) -> None:
    """Stop a job; finished cells are kept, and submitting the study again continues it."""
    from goodshot.runner.submission.jobs import stop as stop_job

    ended = stop_job(_client(address), job)
    typer.echo(f"job {job}: {ended.status.value.lower()}")


def _client(address: str | None) -> Client:
    from goodshot.runner.cluster.connection import quiet_environment
    from goodshot.runner.submission.dashboard import reach

    # Before Ray is imported, which takes a second.
    dashboard = reach(address)
    quiet_environment()
    from goodshot.runner.submission.jobs import Client

    return Client(dashboard)


def _follow(client: Client, job_id: str) -> None:
    """Print a job's output until it ends, then exit with its code."""
    from goodshot.runner.cluster.head import EXIT_CODE
    from goodshot.runner.submission.following import ClusterLost, follow
    from goodshot.runner.submission.jobs import exit_code

    command = _attach_command(client, job_id)
    try:
        job = follow(client, job_id, _write, _tell)
    except KeyboardInterrupt:
        _tell(f"\ndetached; job {job_id} goes on; to follow it again: {command}")
        raise typer.Exit(DETACHED) from None
    except ClusterLost as lost:
        _tell(
            f"goodshot: {lost} If the job still runs, {command} follows it; "
            "if the cluster is gone, submit the study again to another one: it continues from its store"
        )
        raise typer.Exit(EXIT_CODE) from None
    code = exit_code(job)
    _tell(f"job {job_id}: {_ending(job, code)}")
    raise typer.Exit(code)


def _ending(job: JobDetails, code: int) -> str:
    """How a job ended, in words."""
    if job.driver_exit_code == 127:
        return "failed: PATH of the cluster's head has no 'python'; put that of goodshot first before 'ray start'"
    if job.driver_exit_code is None and code == 1:
        lines = [line.strip() for line in (job.message or "").splitlines() if line.strip()]
        return f"failed before its command ended ({lines[0][:300] if lines else 'no reason given'})"
    return f"{job.status.value.lower()}, exit code {code}"


def _times(job: JobDetails) -> tuple[str, str]:
    """When a job started, in local time, and how long it took or takes."""
    import time
    from datetime import datetime

    from goodshot.runner.console.durations import duration

    if not job.start_time:
        return "", ""
    began, ended = job.start_time / 1000, (job.end_time or time.time() * 1000) / 1000
    return f"{datetime.fromtimestamp(began).astimezone():%Y-%m-%d %H:%M:%S}", duration(ended - began)


def _print_dry_run(submission: Submission) -> None:
    import json

    from goodshot.components.download import readable

    package = submission.package
    for name, content in package.files.items():
        typer.echo(f"{len(content):>10}  {name}")
    typer.echo(f"{package.size:>10}  in {len(package.files)} files: {readable(package.size)}")
    typer.echo(f"id: {submission.first_id}")
    typer.echo(f"entry point: {submission.entry_point}")
    typer.echo(f"runtime_env: {json.dumps(submission.runtime_env)}")
    typer.echo(f"metadata: {json.dumps(dict(submission.metadata))}")
    typer.echo("nothing was sent (--dry-run)")


def _attach_command(client: Client, job_id: str) -> str:
    from goodshot.runner.store.files import public

    return f"goodshot attach {job_id} --address {public(client.dashboard.url)}"


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _tell(line: str) -> None:
    typer.echo(line, err=True)
