"""Submit, attach, jobs, stop: what is sent, to whom, and what is said if it cannot be; against a dashboard of the test.

`test_jobs_on_a_cluster.py` does the same against Ray's own.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
import tomllib
import venv
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray._private.runtime_env.packaging import get_uri_for_package

from goodshot.components.errors import BadInput
from goodshot.runner.cli import main
from goodshot.runner.named import experiment_names
from goodshot.runner.results.status import Status, write_status
from goodshot.runner.store.files import Files
from goodshot.runner.submission import following, jobs, package
from goodshot.runner.submission.package import DATA, package_of
from goodshot.runner.submission.secrets import require_no_secret
from tests.conftest import TINY
from tests.fake_dashboard import TOKEN, FakeDashboard, serving_dashboard
from tests.loopback import closed_port

ROOT = Path(__file__).parents[2]
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "planted+aws/secret0123456789",
    "WANDB_API_KEY": "plantedwandbkey0123456789",
    "HF_TOKEN": "hf_plantedtoken0123456789",
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def dashboard() -> Iterator[FakeDashboard]:
    with serving_dashboard() as fake:
        yield fake


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study's file in a folder that has nothing to do with the code."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**TINY, "dataset": {"name": "demo"}}))
    return path


def said(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int = 2) -> str:
    """The one line of a command that is refused."""
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert len(captured.err.strip().splitlines()) == 1, captured.err
    return captured.err


# What is sent


def test_a_package_has_what_an_installation_has(tmp_path: Path) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert {
        f"goodshot.{folder}".replace("/", ".").rstrip("."): list(patterns) for folder, patterns in DATA.items()
    } == (declared)
    names = set(package_of().files)
    modules = {
        f"goodshot/{path.relative_to(ROOT)}"
        for top in ("components", "runner", "experiments")
        for path in (ROOT / top).rglob("*.py")
    }
    assert {name for name in names if name.endswith(".py")} == modules | {"goodshot/__init__.py"}
    assert {name.rpartition("/")[2] for name in names if not name.endswith((".py", ".j2", ".js", ".css"))} == {
        "py.typed", "models.json", "embedded.safetensors", "wordnet_nouns.zip", "wordnet_nouns.LICENSE",
    }  # fmt: skip


@pytest.mark.slow
def test_an_installed_package_sends_the_same_as_a_checkout(study: Path, tmp_path: Path) -> None:
    """Installed by pip, without links into a checkout, and used from another folder."""
    place, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    source = tmp_path / "source"
    # pip writes beside what it builds.
    kept = shutil.ignore_patterns(".git", ".venv", "runs", "__pycache__", "*.egg-info", "build")
    shutil.copytree(ROOT, source, symlinks=True, ignore=kept)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([*pip, str(place), str(source)], check=True, timeout=300)
    shutil.rmtree(source)
    shown = {}
    for name, path in (("checkout", ROOT / "src"), ("installed", place)):
        done = subprocess.run(
            [sys.executable, "-m", "goodshot.runner", "submit", str(study), "--out", "/o", "--dry-run"],
            cwd=elsewhere, env={**os.environ, "PYTHONPATH": str(path)}, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        shown[name] = done.stdout
    assert "goodshot/runner/cli/__init__.py" in shown["installed"]
    assert shown["installed"] == shown["checkout"]


def test_secrets_data_and_links_beside_the_code_stay_here(tmp_path: Path) -> None:
    code, elsewhere = tmp_path / "goodshot", tmp_path / "elsewhere"
    for folder in (code, code / "runner", code / "runner/.venv", code / "runner/data", elsewhere):
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("")
    (code / "runner/data/__init__.py").unlink()
    planted = ["runner/.env", "runner/.netrc", "runner/id_rsa", "runner/key.pem", "runner/token", "runner/x.npy"]
    planted += ["runner/data/rows.py", "runner/.hidden.py", ".env", "secrets.yaml", "runner/credentials.json"]
    for name in planted:
        (code / name).write_text("planted")
    (elsewhere / "secret.py").write_text("planted")
    (code / "runner/linked.py").symlink_to(elsewhere / "secret.py")
    (code / "runner/linked").symlink_to(elsewhere)
    (code / "runner/report").mkdir()
    assert sorted(package_of(code=code).files) == ["goodshot/__init__.py", "goodshot/runner/__init__.py"]


def test_equal_contents_make_an_equal_package(study: Path, tmp_path: Path) -> None:
    first = package_of(study)
    other = tmp_path / "other"
    other.mkdir()
    copy = other / "renamed.yaml"
    copy.write_bytes(study.read_bytes())
    os.utime(copy, (0, 0))
    assert package_of(copy).archive == first.archive
    (tmp_path / "sent.zip").write_bytes(first.archive)
    assert get_uri_for_package(tmp_path / "sent.zip") == first.uri
    copy.write_text(copy.read_text() + "# another\n")
    assert package_of(copy).uri != first.uri


def test_a_package_that_is_too_large_names_its_largest_files(
    study: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "LIMIT", 10**6)
    line = said(capsys, ["submit", str(study), "--out", "/shared/out", "--dry-run"])
    assert "the largest files: goodshot/components/generator/embedded.safetensors (6 MB)" in line


def test_a_dry_run_shows_everything_and_sends_nothing(
    study: Path, capsys: pytest.CaptureFixture[str], dashboard: FakeDashboard
) -> None:
    command = ["submit", str(study), "--out", "s3://bucket/out", "--address", dashboard.url, "--dry-run"]
    assert main([*command, "--set", "copies=[1, 2]", "--quick"]) == 2  # no experiment
    capsys.readouterr()
    assert main([*command, "--set", "copies=[1, 2]", "--store", "s3://bucket/store?region=eu-1"]) == 0
    shown = capsys.readouterr().out
    assert "goodshot/runner/cli/cluster.py\n" in shown
    assert " files: 13 MB\n" in shown
    assert "id: mine-" in shown
    assert (
        "entry point: python -m goodshot.runner sweep study.yaml --out=s3://bucket/out "
        "'--store=s3://bucket/store?region=eu-1' '--set=copies=[1, 2]'\n"
    ) in shown
    assert 'runtime_env: {"working_dir": "gcs://_ray_pkg_' in shown
    assert not any(secret in shown for secret in SECRETS.values())
    assert not dashboard.submitted
    assert not dashboard.packages


def test_what_is_sent_is_the_package_and_a_quoted_command(study: Path, dashboard: FakeDashboard) -> None:
    nasty = "title=$(touch pwned); `id` 'x' \"y\" && exit"
    command = ["submit", str(study), "--out", "/shared/a folder", "--address", dashboard.url, "--no-wait"]
    assert main([*command, "--set", nasty]) == 0
    (request,) = dashboard.submitted
    assert shlex.split(request["entrypoint"])[3:] == ["sweep", "study.yaml", "--out=/shared/a folder", f"--set={nasty}"]
    (name,) = dashboard.packages
    assert request["runtime_env"]["working_dir"] == f"gcs://{name}"
    sent = dashboard.packages[name]
    assert study.read_bytes() in sent
    everything = sent + repr(request).encode()
    assert not any(secret.encode() in everything for secret in (*SECRETS.values(), TOKEN))
    assert set(request["runtime_env"]) <= {"working_dir", "env_vars", "_ray_commit"}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--out", "runs/x"], "--out runs/x: is relative to a folder of this machine; give an absolute path"),
        (["--out", "~/x"], "--out ~/x: is relative"),
        (["--out", "/o", "--store", "store"], "--store store: is relative"),
        (["--out", "/o", "--root", "photos"], "the folder of demo, photos: is relative"),
        (["--out", "s3://key:hidden@bucket/x"], "--out=s3://bucket/x: has credentials in a URI; leave them out"),
        (["--out", "/o", "--root", "s3://key:hidden@b/x"], "has credentials in a URI"),
        (["--out", "/o", "--set", "title=hf_plantedtoken0123456789"], "--set=title=…: contains the value of HF_TOKEN"),
        (["--out", "/o", "--id", "a b"], "--id a b: use up to 100 letters"),
        (["--out", "/o", "--set", "copies=many"], "study mine.yaml: copies"),
    ],
)
def test_what_must_not_be_sent_is_refused(
    study: Path, arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = said(capsys, ["submit", "mine.yaml", *arguments, "--address", f"http://127.0.0.1:{closed_port()}"])
    assert line in refusal
    assert not any(secret in refusal for secret in ("hidden", *SECRETS.values()))


def test_secrets_in_the_study_file_are_refused(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["submit", "mine.yaml", "--out", "/shared/out", "--dry-run"]
    text = study.read_text()
    study.write_text(f"{text}\n# s3://key:hidden@bucket/photographs\n")
    assert "mine.yaml: has credentials in a URI" in said(capsys, command)
    study.write_text(f"{text}\n# {SECRETS['WANDB_API_KEY']}\n")
    assert "contains the value of WANDB_API_KEY; leave it out" in said(capsys, command)


def test_words_and_places_are_no_secrets() -> None:
    environment = {"RAY_AUTH_MODE": "token", "TOKENIZERS_PARALLELISM": "false", "HF_TOKEN_PATH": "/home/x/.cache/token"}
    require_no_secret({"command": "token false /home/x/.cache/token"}, environment)
    with pytest.raises(BadInput, match="contains the value of MY_PASSWORD"):
        require_no_secret({"code.py": b"x = 'long password'"}, {"MY_PASSWORD": "long password"})


# To whom


def test_a_cluster_is_checked_by_a_job(
    study: Path, dashboard: FakeDashboard, capsys: pytest.CaptureFixture[str]
) -> None:
    """A laptop reaches the dashboard only; the exit code is that of the check."""

    def end() -> None:
        (job,) = dashboard.jobs.values()
        job.update(status="FAILED", driver_exit_code=1)

    timer = threading.Timer(2, end)
    timer.start()
    command = ["doctor", str(study), "--address", dashboard.url, "--out", "/shared/out", "--set", "seed=3"]
    assert main(command) == 1
    timer.join()
    (request,) = dashboard.submitted
    words = [
        "python",
        "-m",
        "goodshot.runner",
        "doctor",
        "study.yaml",
        "--out=/shared/out",
        "--address=auto",
        "--set=seed=3",
    ]
    assert shlex.split(request["entrypoint"]) == words
    assert request["submission_id"].startswith("doctor-mine-")
    assert main(["doctor", "--address", dashboard.url]) == 2
    assert "give the study and its --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "line", "code"),
    [
        (
            "ray://head:10001",
            "is the address of Ray Client; give the dashboard's, such as --address http://head:8265",
            2,
        ),
        ("head:6379", "is no URL of a dashboard; give the dashboard's, such as --address http://head:8265", 2),
        ("auto", "such as --address http://127.0.0.1:8265", 2),
        ("http://127.0.0.1:{closed}", "nothing listens there; is the cluster up?", 1),
        ("127.0.0.1:{closed}", "nothing listens there; is the cluster up?", 1),
        ("http://nowhere.invalid:8265", "no machine has this name", 1),
    ],
)
def test_an_address_without_a_dashboard(address: str, line: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    assert line in said(capsys, ["jobs", "--address", address.format(closed=closed_port())], code)
    assert time.monotonic() - began < 10


def test_the_address_of_rays_variables(
    dashboard: FakeDashboard, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "--address: give the URL of the cluster's dashboard" in said(capsys, ["jobs"])
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert "RAY_ADDRESS=head:6379: is no URL of a dashboard" in said(capsys, ["jobs"])
    # The option wins, over Ray's own client too, and its variables stay as they are.
    assert main(["jobs", "--address", dashboard.url]) == 0
    assert os.environ["RAY_ADDRESS"] == "head:6379"
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", dashboard.url)
    assert main(["jobs"]) == 0


def test_tokens(
    dashboard: FakeDashboard, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    command = ["jobs", "--address", dashboard.url]
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another")
    assert "the cluster does not accept this token; check that RAY_AUTH_TOKEN" in said(capsys, command)
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "the cluster wants a token; put it into RAY_AUTH_TOKEN" in said(capsys, command)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text(f"{TOKEN}\n")
    assert main(command) == 0


def test_another_version_of_ray(capsys: pytest.CaptureFixture[str], study: Path) -> None:
    with serving_dashboard(ray_version="2.9.3") as old:
        line = said(capsys, ["submit", "mine.yaml", "--out", "/o", "--address", old.url])
        assert "Ray 2.9.3 runs there, and 2." in line
        assert "on this machine: pip install 'ray[default]==2.9.3'" in line
        assert not old.packages


def test_a_cluster_without_a_token_is_refused(capsys: pytest.CaptureFixture[str], study: Path) -> None:
    with serving_dashboard(token=None) as open_to_all:
        command = ["submit", "mine.yaml", "--out", "/o", "--address", open_to_all.url, "--no-wait"]
        assert "whoever reaches it runs code on it" in said(capsys, command)
        assert main([*command, "--insecure-local"]) == 0
        assert open_to_all.submitted[0]["entrypoint"].endswith(" --insecure-local")


def test_a_dashboard_with_a_dead_head_behind_it(
    dashboard: FakeDashboard, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert jobs.ANSWER_SECONDS["GET"] < 10
    monkeypatch.setitem(jobs.ANSWER_SECONDS, "GET", 1.0)
    dashboard.answers_jobs = False
    assert "the dashboard stopped answering" in said(capsys, ["jobs", "--address", dashboard.url], 1)


# One job for one study


def test_two_people_who_submit_the_same_share_a_job(
    study: Path, dashboard: FakeDashboard, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["submit", "mine.yaml", "--out", "/shared/out", "--address", dashboard.url, "--no-wait"]
    assert main(command) == 0
    (first,) = dashboard.jobs
    assert main(["submit", "./mine.yaml", "--out", "/shared/out/", "--address", dashboard.url, "--no-wait"]) == 0
    assert f"job {first}: runs this study already; nothing was submitted" in capsys.readouterr().err
    assert main([*command, "--set", "copies=[3]"]) == 0
    assert len(dashboard.jobs) == 2
    # One that has ended is submitted again.
    for number in (2, 3):
        dashboard.jobs[max(dashboard.jobs, key=len)]["status"] = "FAILED" if number == 2 else "STOPPED"
        for job in dashboard.jobs.values():
            job["status"] = "STOPPED"
        assert main(command) == 0
        assert dashboard.submitted[-1]["submission_id"] == f"{first}-{number}"


def test_who_comes_second_at_the_same_instant_attaches(
    study: Path, dashboard: FakeDashboard, capsys: pytest.CaptureFixture[str]
) -> None:
    dashboard.hidden.add("ours")
    command = ["submit", "mine.yaml", "--out", "/o", "--address", dashboard.url, "--no-wait", "--id", "ours"]
    assert main(command) == 0
    assert "job ours: runs this study already" in capsys.readouterr().err
    assert not dashboard.submitted
    refusal = said(capsys, [*command, "--set", "copies=[3]"])
    assert "--id ours: job ours runs something else; choose another id" in refusal


# How it ended


@pytest.mark.parametrize(
    ("details", "code", "line"),
    [
        ({"status": "SUCCEEDED", "driver_exit_code": 0}, 0, "succeeded, exit code 0"),
        ({"status": "FAILED", "driver_exit_code": 2}, 2, "failed, exit code 2"),
        ({"status": "FAILED", "driver_exit_code": 127}, 127, "PATH of the cluster's head has no 'python'"),
        ({"status": "FAILED", "message": "runtime_env setup failed"}, 1, "(runtime_env setup failed)"),
        ({"status": "STOPPED"}, 143, "stopped, exit code 143"),
    ],
)
def test_the_exit_code_is_the_jobs(
    dashboard: FakeDashboard, details: dict[str, Any], code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dashboard.add("it", **details)
    assert main(["attach", "it", "--address", dashboard.url]) == code
    assert line in capsys.readouterr().err


def test_what_a_job_printed_last_is_shown_also_if_its_stream_ended_before(
    dashboard: FakeDashboard, capsys: pytest.CaptureFixture[str]
) -> None:
    dashboard.add("it", "FAILED", driver_exit_code=1)
    dashboard.logs["it"] = "cells 0/1\n1 of 1 cells failed\n"
    assert main(["attach", "it", "--address", dashboard.url]) == 1
    assert capsys.readouterr().out.count("1 of 1 cells failed") == 1


def test_a_cluster_that_goes_is_told_from_a_job_that_fails(
    dashboard: FakeDashboard, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "BUSY_SECONDS", 1.0)
    monkeypatch.setattr(following, "SILENCE_SECONDS", 0.5)
    monkeypatch.setitem(jobs.ANSWER_SECONDS, "GET", 1.0)
    dashboard.add("it", "RUNNING")
    threading.Timer(2, lambda: setattr(dashboard, "answers_jobs", False)).start()
    assert main(["attach", "it", "--address", dashboard.url]) == 3
    assert "submit the study again to another one: it continues from its store" in capsys.readouterr().err


def test_jobs_and_stop(dashboard: FakeDashboard, capsys: pytest.CaptureFixture[str]) -> None:
    dashboard.add("it", "RUNNING", start_time=1, metadata={"goodshot_study": "demo", "goodshot_out": "/shared/out"})
    assert main(["jobs", "--address", dashboard.url]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("it", "running", "demo", "/shared/out"))
    assert main(["stop", "it", "--address", dashboard.url]) == 0
    assert "job it: stopped" in capsys.readouterr().out
    assert "job other: does not exist on this cluster" in said(capsys, ["stop", "other", "--address", dashboard.url])


LOG = """tiny: 3 cells
cells 0/3 · generator steps 0/8
cells 1/3 · generator steps 4/8
a line of another kind
cells 2/3 · generator steps 6/8
cells 2/3 · generator steps 8/8 · about 5 s left
"""


@pytest.mark.parametrize(
    ("details", "log", "said", "code"),
    [
        ({"status": "PENDING"}, None, ["demo as job it: pending"], 0),
        (
            {"status": "RUNNING", "start_time": 1},
            LOG,
            ["running, started 1970-", "cells 1/3"],
            0,
        ),
        ({"status": "RUNNING"}, "left out: n1: disk\n", ["left out: n1: disk"], 0),
        ({"status": "FAILED", "driver_exit_code": 2}, "goodshot: bad\n", ["failed, exit code 2", "goodshot: bad"], 1),
        ({"status": "STOPPED"}, LOG, ["stopped", "cells 2/3 · generator steps 8/8"], 1),
    ],
)
def test_the_status_of_a_job_whose_out_is_elsewhere_is_what_the_dashboard_knows(
    dashboard: FakeDashboard,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    details: dict[str, Any],
    log: str | None,
    said: list[str],
    code: int,
) -> None:
    out = str(tmp_path / "of-the-cluster")
    entrypoint = f"python -m goodshot.runner sweep demo --out={out}"
    metadata = {"goodshot_study": "demo", "goodshot_out": out}
    dashboard.add("it", **{"entrypoint": entrypoint, "metadata": metadata, **details})
    if log is not None:
        dashboard.logs["it"] = log
    assert main(["status", "it", "--address", dashboard.url]) == code
    captured = capsys.readouterr()
    assert f"--out {out}" in captured.err
    shown = " ".join(captured.out.split())
    assert all(words in shown for words in said), shown
    assert "the full picture needs --out to be visible from here" in shown
    assert "a line of another kind" not in shown

    assert main(["status", "it", "--address", dashboard.url, "--json"]) == code
    fields = json.loads(capsys.readouterr().out)
    assert (fields["source"], fields["job"], fields["state"]) == ("dashboard", "it", details["status"].lower())
    assert (fields["study"], fields["entrypoint"], fields["out"]) == ("demo", entrypoint, out)
    assert fields["exit_code"] == details.get("driver_exit_code")
    assert fields["started"] == ("1970-01-01T00:00:00.001000+00:00" if "start_time" in details else None)
    assert len(fields["log"]) <= 3
    assert "needs --out to be visible from here" in fields["notice"]


def test_the_status_of_a_job_whose_out_is_visible_is_the_runs_own(
    dashboard: FakeDashboard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = datetime.now(UTC)
    write_status(Files(str(tmp_path)), Status(studies=("tiny",), host="driver", began=now, written=now, cells=3))
    began = int(1000 * now.timestamp()) - 5000
    metadata = {"goodshot_study": "demo", "goodshot_out": str(tmp_path)}
    dashboard.add("it", "RUNNING", metadata=metadata, start_time=began)
    assert main(["status", "it", "--address", dashboard.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["host"] == "driver"
    # The run that wrote it says that it goes on; the job's command failed.
    dashboard.add("failed", "FAILED", metadata=metadata, start_time=began, driver_exit_code=2)
    assert main(["status", "failed", "--address", dashboard.url, "--json"]) == 1
    capsys.readouterr()
    # What an earlier run wrote is not shown as the state of this job.
    dashboard.add("later", "PENDING", metadata=metadata)
    dashboard.add("latest", "RUNNING", metadata=metadata, start_time=began + 3_600_000)
    for name in ("later", "latest"):
        assert main(["status", name, "--address", dashboard.url, "--json"]) == 0
        fields = json.loads(capsys.readouterr().out)
        assert (fields["source"], fields["job"]) == ("dashboard", name)
        assert "that of an earlier run" in fields["notice"]


def test_a_job_is_watched_at_the_dashboard_until_it_ends(
    dashboard: FakeDashboard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "of-the-cluster")
    dashboard.add("it", "RUNNING", metadata={"goodshot_study": "demo", "goodshot_out": out})
    dashboard.logs["it"] = LOG
    threading.Timer(1, lambda: dashboard.jobs["it"].update(status="SUCCEEDED", driver_exit_code=0)).start()
    assert main(["status", "it", "--address", dashboard.url, "--watch"]) == 0
    assert "demo as job it: succeeded, exit code 0" in capsys.readouterr().out


BLOCKED = """
import sys
import importlib.util
HEAVY = {"torch", "torchvision", "anomalib", "open_clip", "nltk", "wandb", "accelerate", "timm", "lightning",
         "transformers", "pandas", "scipy", "skimage", "altair", "optuna", "torchmetrics", "vl_convert", "diffusers"}
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name.partition(".")[0] in HEAVY else find(name, *more)
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HEAVY:
            raise ModuleNotFoundError(f"{name} is not installed", name=name)
sys.meta_path.insert(0, Finder())
from goodshot.runner.cli import main
for arguments in %r:
    code = main(arguments)
    if code:
        sys.exit(code)
"""


def test_a_laptop_needs_no_torch(study: Path, dashboard: FakeDashboard, tmp_path: Path) -> None:
    """With the heavy packages hidden, and from a folder without the code."""
    metadata = {"goodshot_study": "demo", "goodshot_out": "/of/the/cluster"}
    dashboard.add("it", "SUCCEEDED", driver_exit_code=0, metadata=metadata)
    at = ["--address", dashboard.url]
    commands = [
        ["submit", str(study), "--out", "/o", "--dry-run"],
        *(["submit", name, "--out", "/o", "--dry-run"] for name in experiment_names()),
        ["submit", "oneshot_lite0", "--out", "/o", *at, "--no-wait"],
        ["jobs", *at],
        ["attach", "it", *at],
        ["status", "it", *at],
    ]
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED % commands],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "nothing was sent (--dry-run)" in done.stdout
    assert "job it: succeeded, exit code 0" in done.stderr
    assert "WARNING" not in done.stderr


def test_the_clients_packages_are_goodshots_own() -> None:
    """What `requirements-client.txt` installs is a part of the dependencies, with the same bounds."""
    dependencies = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    lines = (ROOT / "requirements-client.txt").read_text().splitlines()
    listed = {line for line in lines if line and not line.startswith("#")}
    assert listed - {"ray[default]>=2.50"} <= dependencies
    assert "ray[default,tune]>=2.50" in dependencies


@pytest.mark.slow
def test_a_laptop_with_the_clients_packages_alone(study: Path, dashboard: FakeDashboard, tmp_path: Path) -> None:
    """An environment of its own, as docs/cluster.md makes it: it has no torch, and every command of a laptop."""
    venv.create(tmp_path / "laptop", with_pip=True)
    commands = tmp_path / "laptop" / "bin"

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(commands / command[0]), *command[1:]], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    pip = ["pip", "install", "--quiet", "--disable-pip-version-check"]
    constraints, packages = ROOT / "constraints.txt", ROOT / "requirements-client.txt"
    for arguments in (["--constraint", str(constraints), "--requirement", str(packages)], ["--no-deps", str(ROOT)]):
        done = run(*pip, *arguments)
        assert done.returncode == 0, done.stderr
    assert run("python", "-c", "import torch").returncode != 0
    metadata = {"goodshot_study": "demo", "goodshot_out": "/of/the/cluster"}
    dashboard.add("it", "SUCCEEDED", driver_exit_code=0, metadata=metadata)
    at = ["--address", dashboard.url]
    for command, said in (
        (["submit", str(study), "--out", "/o", "--dry-run"], "nothing was sent (--dry-run)"),
        (["submit", "oneshot_lite0", "--out", "/o", *at, "--no-wait"], "oneshot_lite0"),
        (["jobs", *at], "it"),
        (["attach", "it", *at], "job it: succeeded, exit code 0"),
        (["status", "it", *at], "job it: succeeded"),
    ):
        done = run("goodshot", *command)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout + done.stderr
