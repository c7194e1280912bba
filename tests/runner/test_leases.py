"""Leases between drivers: one holder, renewed while it lives, free once it is dead."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from goodshot.components.errors import GoodshotError
from goodshot.runner.store.files import TEMPORARY, Files
from goodshot.runner.store.leases import FOLDER, Leases


def refuse(*_: object, **__: object) -> None:
    raise PermissionError("this file system has no hard links")


@pytest.fixture(autouse=True, params=["links", "files"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Leases as links to a driver's one file, and as files of their own where there are no hard links."""
    if request.param == "files":
        monkeypatch.setattr(os, "link", refuse)
    return str(request.param)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / FOLDER).iterdir() if TEMPORARY not in path.name)


def change(folder: Path, **fields: object) -> None:
    (path,) = files(folder)
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_one_holds_it_until_it_is_given_back(tmp_path: Path) -> None:
    first, second = Leases(str(tmp_path)), Leases(str(tmp_path))
    assert first.take("generator/a")
    assert first.take("generator/a")
    assert not second.take("generator/a")
    assert second.take("generator/b")
    second.release("generator/a")
    assert not second.take("generator/a")
    first.release("generator/a")
    assert second.take("generator/a")
    first.close()
    second.close()
    assert [*(tmp_path / FOLDER).iterdir()] == []


def test_of_many_that_ask_at_once_one_gets_it(tmp_path: Path) -> None:
    drivers = [Leases(str(tmp_path)) for _ in range(16)]
    keys = [f"stage/{i}" for i in range(40)]
    with ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda driver: [key for key in keys if driver.take(key)], drivers))
    assert Counter(key for taken in got for key in taken) == Counter(keys)
    assert len(files(tmp_path)) == len(keys)


def test_a_holder_whose_process_is_gone_is_dead_at_once_and_one_follows_it(tmp_path: Path) -> None:
    keys = [f"stage/{i}" for i in range(100)]
    code = f"from goodshot.runner.store.leases import Leases; assert all(map(Leases({str(tmp_path)!r}).take, {keys}))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
    drivers = [Leases(str(tmp_path)) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for key in keys:
            assert sum(pool.map(lambda driver, key=key: driver.take(key), drivers)) == 1
    assert len(files(tmp_path)) == len(keys)
    for driver in drivers:
        driver.close()
    # The dead one's own file too.
    assert [*(tmp_path / FOLDER).iterdir()] == []


def test_another_machines_holder_is_dead_when_it_stops_renewing(tmp_path: Path) -> None:
    holder, waiting = Leases(str(tmp_path)), Leases(str(tmp_path), stale_seconds=0.0)
    assert holder.take("stage")
    change(tmp_path, host="elsewhere")
    assert not waiting.take("stage")
    change(tmp_path, beat=1)
    assert not waiting.take("stage")
    assert waiting.take("stage")
    assert holder.renew() == {"stage"}
    assert holder.held == ()
    assert waiting.renew() == set()
    # What it does not hold any more it does not give back either.
    holder.release("stage")
    assert len(files(tmp_path)) == 1


def test_renewing_is_seen_by_those_who_wait(tmp_path: Path) -> None:
    holder, waiting = Leases(str(tmp_path)), Leases(str(tmp_path), stale_seconds=0.0)
    assert holder.take("stage")
    change(tmp_path, host="elsewhere")
    for _ in range(3):
        assert not waiting.take("stage")
        assert holder.renew() == set()
        change(tmp_path, host="elsewhere")


@pytest.mark.parametrize("content", [b"", b"{", b"[]"])
def test_a_damaged_lease_is_waited_for_and_then_taken(tmp_path: Path, content: bytes) -> None:
    holder, waiting = Leases(str(tmp_path)), Leases(str(tmp_path), stale_seconds=0.0)
    assert holder.take("stage")
    files(tmp_path)[0].write_bytes(content)
    assert not waiting.take("stage")
    assert waiting.take("stage")


def test_what_cannot_be_read_or_written_for_a_moment_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = Leases(str(tmp_path))
    assert holder.take("stage")

    def fail(*_: object) -> None:
        raise GoodshotError("no space left on device")

    for method in ("write", "read"):
        with monkeypatch.context() as patched:
            patched.setattr(Files, method, fail)
            assert holder.renew() == set()
            assert holder.held == ("stage",)
    with monkeypatch.context() as patched:
        patched.setattr(Files, "delete", fail)
        holder.release("stage")
        assert holder.held == ()
        assert holder.renew() == set()
        assert len(files(tmp_path)) == 1
    # It is no lease any more, and goes as soon as it can.
    assert holder.renew() == set()
    assert files(tmp_path) == []


def test_one_that_could_not_be_deleted_can_be_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = Leases(str(tmp_path))
    assert holder.take("stage")
    with monkeypatch.context() as patched:
        patched.setattr(Files, "delete", refuse)
        holder.release("stage")
    assert holder.take("stage")
    assert holder.renew() == set()
    assert holder.held == ("stage",)
    assert len(files(tmp_path)) == 1
    holder.close()
    assert not holder.take("stage")
    assert files(tmp_path) == []


def test_one_given_back_while_it_is_renewed_stays_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", refuse)
    holder = Leases(str(tmp_path))
    assert holder.take("stage")
    releasing = threading.Thread(target=holder.release, args=["stage"])
    write = Files.write

    def write_late(files: Files, name: str, data: bytes) -> None:
        releasing.start()
        releasing.join(0.2)
        write(files, name, data)

    monkeypatch.setattr(Files, "write", write_late)
    assert holder.renew() == set()
    releasing.join()
    assert holder.held == ()
    assert files(tmp_path) == []


def test_many_leases_make_one_file_and_are_renewed_at_once(tmp_path: Path, kind: str) -> None:
    holder, other = Leases(str(tmp_path)), Leases(str(tmp_path))
    keys = [f"cell/{i}" for i in range(50)]
    assert all(map(holder.take, keys))
    numbers = {path.stat().st_ino for path in files(tmp_path)}
    assert len(numbers) == (1 if kind == "links" else 50)
    before = {path.read_bytes() for path in files(tmp_path)}
    assert holder.renew() == set()
    assert before.isdisjoint(path.read_bytes() for path in files(tmp_path))
    # One lost lease does not touch the others.
    files(tmp_path)[0].unlink()
    assert len(holder.renew()) == 1
    assert len(holder.held) == 49
    assert not any(map(other.take, holder.held))
    holder.close()
    assert all(map(other.take, keys))
    other.close()


def test_a_driver_whose_own_file_was_cleaned_up_goes_on(tmp_path: Path, kind: str) -> None:
    holder, other = Leases(str(tmp_path)), Leases(str(tmp_path))
    assert holder.take("first")
    for path in (tmp_path / FOLDER).iterdir():
        if TEMPORARY in path.name:
            path.unlink()
    assert holder.take("second")
    assert holder.renew() == set()
    assert not other.take("first")
    assert not other.take("second")
    holder.close()
    assert files(tmp_path) == []
