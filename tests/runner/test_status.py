"""How far a run is: what it writes, what the command shows of it, and what it expects."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from goodshot.runner.cli import main
from goodshot.runner.console.status import progress_line, status_view
from goodshot.runner.executor.progress import Progress
from goodshot.runner.results.status import NodeStatus, Status, read_status, write_status
from goodshot.runner.run.execute import run_studies
from goodshot.runner.run.options import Options, Run
from goodshot.runner.run.status_record import StatusRecord
from goodshot.runner.store.files import Files, absolute
from goodshot.runner.study.study import Study

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def status(**fields: Any) -> Status:
    return Status(**{"studies": ("tiny",), "host": "driver", "began": NOW, "written": datetime.now(UTC), **fields})


def printed(found: Status) -> str:
    console = Console(width=200, record=True, quiet=False, file=None, force_terminal=False)
    with console.capture() as captured:
        console.print(status_view(found))
    return captured.get()


def test_a_run_leaves_how_it_ended(
    tiny_study: Callable[..., Study], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    _, run = run_studies([tiny_study(arms=["original"])], Options(out, local=True), Console(quiet=True))
    found = read_status(Files(absolute(out)))
    assert found is not None
    assert (found.state, found.cells, found.cells_done, found.cells_failed) == ("complete", run.cells, run.cells, 0)
    assert found.executed == {"detection": 1, "shard": 1}
    assert main(["status", out]) == 0
    assert "tiny on" in (text := capsys.readouterr().out)
    assert "complete after" in text
    assert main(["status", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "out/status.json").read_text())
    # The same command again has nothing to run.
    run_studies([tiny_study(arms=["original"])], Options(out, local=True), Console(quiet=True))
    again = read_status(Files(absolute(out)))
    assert again is not None
    assert (again.state, again.cells, again.cells_reused, again.cells_to_run) == ("complete", 1, 1, 0)


@pytest.mark.parametrize(
    ("fields", "said", "code"),
    [
        ({"state": "incomplete", "cells_failed": 2}, "2 failed", 1),
        ({"state": "stopped"}, "stopped after", 1),
        ({"written": NOW + timedelta(minutes=5)}, "no sign of life for", 1),
        ({"seconds_left": 720.0}, "about 12 min left", 0),
        ({"waits_for": "waiting for a node with 1 GPU"}, "waiting for a node with 1 GPU", 0),
        ({"awaited": 3}, "waiting for another run: 3", 0),
        ({"retries": {"a node was lost": 2}}, "2 stages were run again after a node was lost", 0),
    ],
)
def test_the_command_says_what_is_the_matter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fields: dict[str, Any], said: str, code: int
) -> None:
    write_status(Files(absolute(str(tmp_path))), status(**fields))
    assert main(["status", str(tmp_path)]) == code
    assert said in capsys.readouterr().out


def test_two_runs_into_one_folder_are_both_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files, later = Files(absolute(str(tmp_path))), datetime.now(UTC) + timedelta(seconds=1)
    one, two = status(studies=("one",)), status(studies=("two",), host="other", began=later)
    gone = status(studies=("gone",), host="third", written=datetime.now(UTC) - timedelta(minutes=2))
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    late = datetime.now(UTC) - timedelta(seconds=12)
    dead = status(studies=("dead",), host=socket.gethostname(), pid=process.pid, written=late)
    assert dead.is_silent
    assert not dead.model_copy(update={"written": datetime.now(UTC)}).is_silent
    for each in (gone, two, dead, one, two):
        write_status(files, each)
    assert main(["status", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert text.index("one on") < text.index("two on")
    assert "gone" not in text
    assert "dead" not in text
    write_status(files, one.model_copy(update={"state": "complete"}))
    write_status(files, two)
    found = read_status(files)
    assert found is not None
    assert (found.studies, found.others) == (("two",), ())


@pytest.mark.parametrize(("content", "said"), [(None, "holds no status.json"), ("{", "is damaged")])
def test_a_folder_without_a_status_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, said: str
) -> None:
    if content is not None:
        (tmp_path / "status.json").write_text(content)
    assert main(["status", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_newer_version_s_fields_are_passed_over(tmp_path: Path) -> None:
    written = json.loads(status(cells=3).to_json())
    (tmp_path / "status.json").write_text(json.dumps({**written, "from_the_future": 1}))
    found = read_status(Files(absolute(str(tmp_path))))
    assert found is not None
    assert found.cells == 3


def test_nodes_are_listed_and_many_are_summed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    nodes = tuple(NodeStatus(name=f"n{i}", cpus=4, cpus_used=1, gpus=2, gpus_used=0.5) for i in range(25))
    found = status(nodes=(*nodes[:-1], nodes[-1].model_copy(update={"is_leaving": True})), gpu_hours=3.0, cpu_hours=1.0)
    text = printed(found)
    assert "n0 " in text
    assert "5 more" in text
    assert "5/20" in text
    write_status(Files(absolute(str(tmp_path))), found)
    assert main(["status", str(tmp_path), "--price-gpu-hour", "2"]) == 0
    assert "3.00 GPU hours of these nodes, 6.00 at the given prices" in capsys.readouterr().out


def test_stages_of_another_run_are_counted_while_there_are_any(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = StatusRecord(Files(absolute(str(tmp_path))), ["tiny"], Run(cells=4))
    record.note(Progress(cells_total=4, awaited=2))
    assert main(["status", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["awaited"] == 2
    record.end(Run(cells=4), has_ended=True)
    assert record.current.awaited == 0
    assert "another run" not in printed(record.current)


def test_a_log_line_has_the_counts() -> None:
    assert progress_line(status()) == ""
    found = status(cells_to_run=8, cells_done=2, steps_total=20, steps_done=5, running={"generator": 2, "detection": 1})
    assert progress_line(found) == "cells 2/8 · generator steps 5/20 · running 1 detection, 2 generator"


class TestTheExpectedEnd:
    """At the pace of the run so far, which contains how much runs at once."""

    def test_it_is_unknown_until_work_was_timed(self) -> None:
        assert Progress(cells_total=4).seconds_left() is None
        untimed = Progress(cells_total=4, steps_total=10)
        untimed.cell_took(1.0)
        assert untimed.seconds_left() is None  # trainings are still to be timed

    def test_four_at_once_are_four_times_as_fast_as_one(self) -> None:
        def left(at_once: int) -> float | None:
            progress = Progress(steps_total=10000, cells_total=1000, working_since=1000.0, most_at_once=at_once)
            progress.stepped("a", 1000, 500.0)
            progress.cells_done = 100
            progress.cell_took(200.0)
            # 700 seconds of work were done, at this pace.
            return progress.seconds_left(now=1000.0 + 700.0 / at_once)

        one, four = left(1), left(4)
        # 9000 steps of half a second, and 900 cells of two.
        assert one == pytest.approx(9000 * 0.5 + 900 * 2.0, rel=0.05)
        assert four == pytest.approx((9000 * 0.5 + 900 * 2.0) / 4, rel=0.05)

    def test_seconds_in_which_processes_start_do_not_slow_what_is_expected(self) -> None:
        progress = Progress(steps_total=100, working_since=1000.0, most_at_once=4)
        progress.stepped("a", 2, 4.0)
        # Of the first eight seconds one process worked half. Four will do three seconds of work a second.
        assert 98 * 2.0 / 3 < (left := progress.seconds_left(now=1008.0) or 0.0) < 98 * 2.0 / 2
        assert left < 98 * 2.0 * 8 / 4 / 2

    def test_cells_that_were_never_timed_are_expected_to_take_what_earlier_runs_took(self) -> None:
        progress = Progress(steps_total=10, cells_total=10, cell_guess=7.0, working_since=1000.0)
        progress.stepped("a", 5, 10.0)
        assert progress.seconds_left(now=1010.0) == pytest.approx(5 * 2.0 + 10 * 7.0, rel=0.25)
