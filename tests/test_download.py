"""A download against a real server with real faults: resumed, verified, once, and never half a file."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from goodshot.components import download as module
from goodshot.components.download import Unavailable, download, readable
from goodshot.components.errors import BadInput, GoodshotError
from tests.loopback import Served, closed_port, serving, serving_redirects

CONTENT = b"".join(hashlib.sha256(str(i).encode()).digest() for i in range(64 * 1024))
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2


@pytest.fixture(autouse=True)
def _direct_and_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(module, "WAITS", (0.0, 0.0, 0.0))


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(CONTENT) as serving_it:
        yield serving_it


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "file – größe 1.bin"


def get(served: Served, target: Path, **options: object) -> None:
    download(served.url, target, SHA256, **options)  # type: ignore[arg-type]


def stop_at_half(done: int, total: int | None) -> None:
    if done >= HALF:
        raise KeyboardInterrupt


def interrupt(served: Served, target: Path) -> int:
    """Stops a download midway and returns how much is there."""
    with pytest.raises(KeyboardInterrupt):
        get(served, target, on_progress=stop_at_half)
    assert not target.exists()
    length = target.with_name(f"{target.name}.part").stat().st_size
    assert 0 < length < len(CONTENT)
    return length


def left(target: Path) -> list[str]:
    """What lies beside the target, locks apart."""
    return sorted(p.name.removeprefix(target.name) for p in target.parent.iterdir() if p.suffix != ".lock")


def test_a_download_is_whole_verified_and_reported(served: Served, target: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    get(served, target, size=len(CONTENT), on_progress=lambda done, total: seen.append((done, total)))
    assert target.read_bytes() == CONTENT
    assert seen == sorted(seen)
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert left(target) == [""]


def test_what_is_there_is_not_downloaded_again(served: Served, target: Path) -> None:
    get(served, target)
    get(served, target)
    assert len(served.gets) == 1
    target.write_bytes(b"damaged")
    get(served, target)
    assert target.read_bytes() == CONTENT


def test_the_next_process_continues_where_the_last_was_stopped(served: Served, target: Path) -> None:
    length = interrupt(served, target)
    get(served, target)
    assert served.gets[1]["Range"] == f"bytes={length}-"
    assert served.gets[1]["If-Range"] == '"one"'
    assert target.read_bytes() == CONTENT
    assert left(target) == [""]


def test_a_cut_connection_is_continued(served: Served, target: Path) -> None:
    served.cuts = [HALF + 1, 0, 300_000]
    get(served, target)
    assert target.read_bytes() == CONTENT
    assert len(served.gets) == 4
    assert all("Range" in headers for headers in served.gets[1:])


def test_a_weak_etag_is_not_sent_and_the_hash_decides(served: Served, target: Path) -> None:
    served.etag = 'W/"weak"'
    interrupt(served, target)
    get(served, target)
    assert "If-Range" not in served.gets[1]
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("fault", ["no ranges", "another etag", "another hash", "part too long", "no note"])
def test_what_cannot_be_continued_starts_over(fault: str, served: Served, target: Path) -> None:
    interrupt(served, target)
    part, note = (target.with_name(f"{target.name}{suffix}") for suffix in (".part", ".part.json"))
    if fault == "no ranges":
        served.ranges = False
    elif fault == "another etag":
        part.write_bytes(b"\0" * HALF)
        served.etag = '"two"'
    elif fault == "another hash":
        note.write_text(note.read_text().replace(SHA256, "0" * 64))
    elif fault == "part too long":
        part.write_bytes(CONTENT + b"more")
    else:
        note.unlink()
    get(served, target)
    assert target.read_bytes() == CONTENT
    assert left(target) == [""]


def test_a_range_that_the_server_has_not_starts_over(served: Served, target: Path) -> None:
    interrupt(served, target)
    part, note = (target.with_name(f"{target.name}{suffix}") for suffix in (".part", ".part.json"))
    part.write_bytes(CONTENT + b"more")
    note.write_text(note.read_text().replace(str(len(CONTENT)), str(len(CONTENT) + 9)))
    get(served, target)
    assert target.read_bytes() == CONTENT


def test_a_complete_part_is_only_verified(served: Served, target: Path) -> None:
    interrupt(served, target)
    target.with_name(f"{target.name}.part").write_bytes(CONTENT)
    get(served, target)
    assert len(served.gets) == 1
    assert target.read_bytes() == CONTENT


def test_a_wrong_hash_is_named_and_nothing_is_left(served: Served, target: Path) -> None:
    served.content = CONTENT[:-1] + b"?"
    found = hashlib.sha256(served.content).hexdigest()
    with pytest.raises(GoodshotError, match=rf"SHA-256 expected {SHA256}, got {found}; .*again") as failure:
        get(served, target)
    assert not isinstance(failure.value, BadInput)
    assert left(target) == []


def test_another_size_than_published_is_refused_before_it_is_loaded(served: Served, target: Path) -> None:
    with pytest.raises(Unavailable, match=f"offers {len(CONTENT)} bytes, not the 5 published"):
        get(served, target, size=5)
    assert left(target) == []


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_link_that_is_gone_is_not_tried_again(status: int, served: Served, target: Path) -> None:
    served.statuses = [status]
    with pytest.raises(Unavailable, match=rf"file\.bin: the server answers {status} \w+.*; the link may have moved"):
        get(served, target)
    assert len(served.gets) == 1


def test_a_page_in_place_of_the_file(served: Served, target: Path) -> None:
    served.headers = {"Content-Type": "text/html; charset=utf-8"}
    with pytest.raises(Unavailable, match="web page in place of the file"):
        get(served, target)


@pytest.mark.parametrize("statuses", [[503], [502, 429, 500]])
def test_a_passing_fault_is_tried_again(statuses: list[int], served: Served, target: Path) -> None:
    served.statuses = list(statuses)
    get(served, target)
    assert target.read_bytes() == CONTENT
    assert len(served.gets) == len(statuses) + 1


def test_a_fault_that_stays_keeps_what_has_arrived(served: Served, target: Path) -> None:
    length = interrupt(served, target)
    served.statuses = [503] * 9
    with pytest.raises(Unavailable, match=r"503 Service Unavailable, 4 times in a row; .* kept"):
        get(served, target)
    served.statuses = []
    get(served, target)
    assert served.gets[-1]["Range"] == f"bytes={length}-"


def test_a_server_that_always_cuts_is_given_up(served: Served, target: Path) -> None:
    served.ranges, served.cuts = False, [HALF] * 20
    with pytest.raises(Unavailable, match="the connection was cut, 4 times in a row"):
        get(served, target)


def test_bytes_labelled_as_encoded_are_kept_as_they_are(served: Served, target: Path) -> None:
    served.headers = {"Content-Encoding": "gzip"}
    get(served, target)
    assert target.read_bytes() == CONTENT


def test_nobody_listens(target: Path) -> None:
    with pytest.raises(Unavailable, match=r"cannot be reached \(Connection refused\); check the network") as failure:
        download(f"http://127.0.0.1:{closed_port()}/file.bin", target, SHA256)
    assert "\n" not in str(failure.value)


def test_no_such_host(target: Path) -> None:
    with pytest.raises(Unavailable, match=r"host\.invalid/file\.bin: cannot be reached"):
        download("http://host.invalid/file.bin", target, SHA256)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_refuses(scheme: str, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = closed_port()
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"http://user:secret@127.0.0.1:{port}")
    monkeypatch.delenv("https_proxy", raising=False)
    with pytest.raises(Unavailable, match=rf"the proxy 127\.0\.0\.1:{port} refuses \(.*\); check the proxy") as failure:
        download(f"{scheme}://host.invalid/file.bin", target, SHA256)
    assert "secret" not in str(failure.value)


def test_a_proxy_that_wants_a_password(served: Served, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", served.url.rsplit("/", 1)[0])
    served.statuses = [407]
    with pytest.raises(Unavailable, match=r"the proxy 127\.0\.0\.1:\d+ wants a name and password"):
        download("http://host.invalid/file.bin", target, SHA256)


def test_a_proxy_is_used(served: Served, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", served.url.rsplit("/", 1)[0])
    download("http://host.invalid/file.bin", target, SHA256)
    assert target.read_bytes() == CONTENT


def test_a_target_that_cannot_be_written(served: Served, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadInput, match=r"cannot be written .*; choose another folder"):
        get(served, tmp_path / "file" / "target.bin")


@pytest.mark.skipif(os.geteuid() == 0, reason="to root no folder is read-only")
def test_a_read_only_folder(served: Served, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(BadInput, match=r"cannot be written \(Permission denied\)"):
        get(served, tmp_path / "target.bin")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is Linux's")
def test_a_full_device(served: Served, target: Path) -> None:
    target.parent.mkdir()
    target.with_name(f"{target.name}.part").symlink_to("/dev/full")
    with pytest.raises(
        GoodshotError, match="No space left on device; make room, the same command continues"
    ) as failure:
        get(served, target)
    assert not isinstance(failure.value, BadInput)


def test_too_little_room_is_said_before_it_is_filled(
    served: Served, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(GoodshotError, match="2 MB remain to be downloaded and 1 kB are free"):
        get(served, target)
    assert left(target) == []


def test_two_processes_download_once(served: Served, target: Path) -> None:
    code = "import sys; from pathlib import Path; from goodshot.components.download import download as d"
    call = f"print('started', flush=True); d({served.url!r}, Path({str(target)!r}), {SHA256!r})"
    served.go.clear()
    command = [sys.executable, "-c", f"{code}; {call}"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.stdout.readline() for process in both if process.stdout] == ["started\n"] * 2
    served.go.set()
    assert [process.wait() for process in both] == [0, 0]
    assert target.read_bytes() == CONTENT
    assert len(served.gets) == 1


@pytest.mark.parametrize(
    ("count", "text"), [(999, "999 B"), (999_600, "1 MB"), (5_264_982_680, "5.3 GB"), (10**13, "10000.0 GB")]
)
def test_sizes_are_readable(count: int, text: str) -> None:
    assert readable(count) == text


def test_without_a_hash_or_a_mark_of_the_version_nothing_is_continued(served: Served, target: Path) -> None:
    """The server has another file by then; half of each would have the right length."""
    served.etag = None
    with pytest.raises(KeyboardInterrupt):
        download(served.url, target, "", on_progress=stop_at_half)
    served.content = bytes(len(CONTENT) - 999)
    download(served.url, target, "")
    assert target.read_bytes() == served.content


@pytest.mark.parametrize("location", ["//localhost:{port}/x", "http://localhost:{port}/x"])
def test_a_redirect_to_another_host_is_not_followed_by_head(location: str) -> None:
    with serving_redirects(location) as (url, asked):
        answer = module.head(url, {"Authorization": "Bearer secret"})
    assert answer.status == 302
    assert len(asked) == 1


def test_a_redirect_in_circles_is_named() -> None:
    with serving_redirects("/again") as (url, asked), pytest.raises(Unavailable, match="redirects in a circle"):
        module.head(url)
    assert len(asked) == 6
