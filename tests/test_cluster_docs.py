"""docs/cluster.md as a new user follows it: its blocks are run on loopback, or their commands and options looked up."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer

from goodshot.runner.cli.options import app
from goodshot.runner.results.results import Results
from goodshot.runner.study.settings import to_yaml
from goodshot.runner.study.study import Study
from tests.loopback import closed_port
from tests.own_address import own_address

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "cluster.md"
BLOCK = re.compile(r"^```(\w+)[ ]?(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# `ray start` puts processes in the background, and `ray stop` ends every Ray of a machine: here one stays in the
# foreground of a process of its own, and those are ended. Several nodes of one machine also need ports of their own.
RAY = """#!/bin/bash
case $1 in
start)
  ports="--min-worker-port=0 --max-worker-port=0 --dashboard-agent-listen-port=0"
  [[ $* == *--head* ]] && ports+=" --include-dashboard=false"
  log="$RAY_FOLDER.$(date +%N).log"
  "$REAL_RAY" "$@" $ports --temp-dir="$RAY_FOLDER" --block > "$log" 2>&1 &
  echo $! >> "$RAY_FOLDER.started"
  while kill -0 $!; do grep -q "Ray runtime started" "$log" && exit 0; sleep 0.5; done
  cat "$log" >&2; exit 1;;
stop) kill $(cat "$RAY_FOLDER.started"); while kill -0 $(cat "$RAY_FOLDER.started") 2> /dev/null; do sleep 0.2; done;;
*) exec "$REAL_RAY" "$@";;
esac
"""


def blocks() -> list[tuple[str, str, str]]:
    """Language, way of checking and text of each block of the page."""
    found = [(match[1], match[2], match[3]) for match in BLOCK.finditer(PAGE.read_text())]
    assert found
    return found


def test_every_block_says_how_it_is_checked() -> None:
    assert {(language, how) for language, how, _ in blocks()} <= {("sh", "run"), ("sh", "dry")}


# Stands for a program of machines that a test has not: it notes how it was called, and makes what later lines need.
FAKE = """#!{python}
import json, os, pathlib, sys
name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps([name, *words]) + "\\n")
if words[:1] == ["clone"]:
    pathlib.Path(words[-1]).mkdir()
if words[:2] == ["-m", "venv"]:
    pathlib.Path(words[2], "bin").mkdir(parents=True)
    pathlib.Path(words[2], "bin", "pip").symlink_to(sys.argv[0])
if name == "scp" and ":" not in words[-1]:
    pathlib.Path(words[-1]).touch()
"""
FAKED = ("git", "make", "scp", "ssh", "docker", "kubectl", "sbatch", "ray", "goodshot", "python3")
DRY = [text for _, how, text in blocks() if how == "dry"]


def calls_of(script: str, folder: Path) -> list[list[str]]:
    """Run a block in bash, with stand-ins for the programs; returns the words of each call, as bash passed them."""
    programs, home, calls = folder / "bin", folder / "home", folder / "calls"
    for made in (programs, home / "work"):
        made.mkdir(parents=True)
    for name in FAKED:
        (programs / name).write_text(FAKE.replace("{python}", sys.executable))
        (programs / name).chmod(0o755)
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(home), "CALLS": str(calls)}
    subprocess.run(["bash", "-euc", script], env=environment, cwd=home / "work", check=True, timeout=60)
    return [json.loads(line) for line in calls.read_text().splitlines()]


@pytest.mark.parametrize("text", DRY, ids=lambda text: text.splitlines()[0])
def test_a_block_for_other_machines_passes_its_commands_on_as_they_are_meant(text: str, tmp_path: Path) -> None:
    found = calls_of(re.sub(r"<\w+>", "PLACE", text), tmp_path)
    for words in found:
        check(words)
        if words[:2] == ["ray", "exec"]:
            check(shlex.split(words[-1]))
    lines = [line for line in text.splitlines() if not line.startswith(("export", "mkdir"))]
    assert len(found) >= len(lines)


def check(words: list[str]) -> None:
    """The command's options exist, and the files of this repository that it names."""
    for word in words:
        if word.startswith("docs/") or word.endswith((".yaml", ".sbatch")):
            assert (ROOT / word).is_file()
    if words[0] in ("goodshot", "sbatch"):
        inner = words[1:] if words[0] == "goodshot" else words[words.index("docs/cluster/slurm.sbatch") + 1 :]
        command = typer.main.get_command(app).commands[inner[0]]  # type: ignore[attr-defined]
        asked = {word for word in inner if word.startswith("--")}
        assert asked <= {name for parameter in command.params for name in parameter.opts}
    elif words[0] == "ray":
        from ray.scripts.scripts import cli

        # "ray job submit … -- COMMAND" has options of its own, and those of the command after them.
        own = words[: words.index("--")] if "--" in words else words
        command = cli.commands[own[1]]
        command = getattr(command, "commands", {}).get(own[2], command) if len(own) > 2 else command
        asked = {word.split("=")[0] for word in own if word.startswith("--")}
        assert asked <= {name for parameter in command.params for name in parameter.opts}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a user whose home is empty."""
    bin_folder, home = tmp_path / "bin", tmp_path / "home"
    bin_folder.mkdir()
    home.mkdir()
    (bin_folder / "ray").write_text(RAY)
    (bin_folder / "ray").chmod(0o755)
    venv = Path(sys.executable).parent
    inherited = {n: v for n, v in os.environ.items() if not n.startswith(("RAY_", "WANDB_"))}
    # Sockets' paths have a limit of 107 characters.
    folder = f"/tmp/docs-{os.getpid()}"
    yield {
        **inherited,
        "HOME": str(home),
        "PATH": f"{bin_folder}:{venv}:{os.environ['PATH']}",
        "REAL_RAY": str(venv / "ray"),
        "RAY_FOLDER": folder,
        "RAY_HEAD": f"{own_address()}:{closed_port()}",
        "RAY_worker_niceness": "0",
        "WANDB_MODE": "disabled",
    }
    subprocess.run(["bash", "-c", f"cat {folder}.started | xargs -r kill; rm -rf {folder} {folder}.*"], check=False)


@pytest.mark.slow
def test_a_new_user_follows_the_page(machine: dict[str, str], tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    """In one shell, as the page's blocks follow each other."""
    (tmp_path / "study.yaml").write_text(to_yaml(tiny_study()))
    script = "set -e\n" + "".join(text for _, how, text in blocks() if how == "run")
    address, port = machine["RAY_HEAD"].split(":")
    replaced = {
        "<HEAD>:6379": machine["RAY_HEAD"],
        "--port=6379": f"--port={port}",
        "<HEAD>": address,
        "<STUDY>": str(tmp_path / "study.yaml"),
        "/shared": str(tmp_path / "shared"),
    }
    for place, value in replaced.items():
        script = script.replace(place, value)
    assert not re.search(r"<[A-Z]+>", script)
    done = subprocess.run(
        ["bash", "-xc", script], env=machine, cwd=tmp_path, capture_output=True, text=True, timeout=1500
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert len(Results(str(tmp_path / "shared" / "study")).finished()) == 3
    assert (tmp_path / "shared" / "study" / "report.html").is_file()
    token = tmp_path / "home" / ".ray" / "auth_token"
    assert token.stat().st_mode & 0o077 == 0
    assert token.read_text() not in done.stdout + done.stderr
    assert "can be read by others" not in done.stdout
