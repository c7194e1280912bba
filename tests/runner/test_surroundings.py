"""Where people run it: without a home, an account or a network, with long folders, a foreign path, in ASCII."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from ray._private import worker

from goodshot.components.errors import BadInput, GoodshotError
from goodshot.runner.cluster import sockets
from goodshot.runner.cluster.address import joined_address
from goodshot.runner.cluster.connection import cluster, require_token, silence_node_messages
from tests.loopback import closed_port, serving

STUDIES = [sys.executable, "-m", "goodshot.runner.cli", "studies"]


def listed(environment: dict[str, str], command: list[str] = STUDIES, cwd: Path | None = None) -> str:
    """What a command prints with some variables added to this environment."""
    done = subprocess.run(
        command, env={**os.environ, **environment}, cwd=cwd, capture_output=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode(errors="replace")


def test_a_users_own_folders_are_not_taken_for_goodshots(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "runner.py").write_text("raise SystemExit('the wrong runner')")
    (tmp_path / "components.py").write_text("raise SystemExit('the wrong components')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    assert "oneshot_lite0" in listed({"PYTHONPATH": path}, cwd=tmp_path)


def test_a_terminal_in_ascii_gets_a_question_mark_for_what_it_lacks() -> None:
    code = "from goodshot.runner.cli import main; from goodshot.runner.cli.options import stdout; "
    code += "assert main(['studies']) == 0; stdout().print('λ × σ')"
    assert listed({"PYTHONIOENCODING": "ascii"}, [sys.executable, "-c", code]).endswith("? ? ?\n")


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_without_home_and_account(tmp_path: Path) -> None:
    other = ["unshare", "--user", "--map-user=12345", "--map-group=12345"]
    if subprocess.run([*other, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine allows no user namespaces")
    bare = ["env", "-u", "HOME", "-u", "USER", "-u", "LOGNAME"]
    code = "from goodshot.runner.cli import main; assert main(['studies']) == 0; import torch, getpass, pathlib; "
    code += "print(getpass.getuser(), pathlib.Path.home())"
    name, home = listed({}, [*other, *bare, sys.executable, "-c", code]).splitlines()[-1].split()
    assert name == "12345"
    assert home.startswith(tempfile.gettempdir())
    assert not Path(home).exists()  # removed at the end


def test_sockets_have_a_short_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    long = tmp_path / "slurm_jobdir_of_a_batch_system/and_its_temporary_files"
    long.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    assert len(sockets.socket_folder()) <= sockets.LONGEST
    sockets.shorten_ray_sockets()
    assert os.environ["RAY_TMPDIR"] == sockets.socket_folder()
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    assert sockets.socket_folder() == "/tmp"


def test_a_local_cluster_has_a_token_that_is_in_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    import ray  # noqa: F401  Ray writes a token below HOME unless it finds one in the environment.

    require_token()
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    # Ray, which is imported, sets the mode of a local cluster itself.
    assert "RAY_AUTH_MODE" not in os.environ
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    require_token()
    assert "RAY_AUTH_TOKEN" not in os.environ


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ray://head:10001", "--address ray://head:10001: .*goodshot submit STUDY --address http://head:8265"),
        ("http://head:8265", "--address http://head:8265: is the address of a dashboard, .*goodshot submit"),
        ("nonsense", "--address nonsense: is no address; write it as HOST:6379"),
        ("127.0.0.1:{closed}", "no Ray cluster answers there .connection refused.; start the cluster's head"),
        ("nowhere.invalid:6379", "no machine has the name nowhere.invalid"),
    ],
)
def test_an_address_that_cannot_be_joined_is_told_at_once(
    address: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    began = time.monotonic()
    with pytest.raises(GoodshotError, match=said), cluster(address.format(closed=closed_port())):
        pass
    assert time.monotonic() - began < 10


def test_what_listens_but_is_no_cluster_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    began = time.monotonic()
    with serving(b"a page") as served:
        address = served.url.split("/")[2]
        with pytest.raises(GoodshotError, match="what listens there is no head of a cluster"), cluster(address):
            pass
    assert time.monotonic() - began < 10


def test_ray_address_is_the_default_of_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert joined_address(None) == "10.0.0.1:6379"
    assert joined_address("10.0.0.2:6379") == "10.0.0.2:6379"
    assert joined_address("local") is None
    monkeypatch.setenv("RAY_ADDRESS", "http://10.0.0.1:8265")
    with pytest.raises(BadInput, match=r"RAY_ADDRESS=http://10.0.0.1:8265: is the address of a dashboard"):
        joined_address(None)
    monkeypatch.delenv("RAY_ADDRESS")
    assert joined_address(None) is None


def test_ray_s_lines_about_lost_processes_are_left_out_and_others_are_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It replaces a function of Ray that is not public, once."""
    monkeypatch.setattr(worker, "print_to_stdstream", worker.print_to_stdstream)
    for _ in range(2):
        silence_node_messages()
    replaced = worker.print_to_stdstream
    assert replaced.__wrapped__.__module__ == worker.__name__
    for pid in ("raylet", 123):
        data = {"lines": [f"from {pid}"], "pid": pid, "is_err": False, "ip": "127.0.0.1", "job": None}
        replaced(data, ignore_prefix=True)
    printed = capsys.readouterr().out
    assert "from 123" in printed
    assert "from raylet" not in printed
