"""Fetching a weight of each kind from servers on loopback: once, verified, and never half a file in a cache."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants, try_to_load_from_cache

from goodshot.components import download as download_module
from goodshot.components.download import Unavailable
from goodshot.components.errors import BadInput, GoodshotError
from goodshot.components.weights.files import AtURL, InArchive, OnHub
from tests.loopback import Hub, closed_port, serving, serving_hub

REPOSITORY = "maker/network"
WEIGHTS = b"".join(hashlib.sha256(str(i).encode()).digest() for i in range(16 * 1024))
DIGEST = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture(autouse=True)
def _direct_and_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HF_HUB_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr(download_module, "WAITS", (0.0,))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving_hub({f"{REPOSITORY}/model.safetensors": WEIGHTS, f"{REPOSITORY}/tokenizer.json": b"{}"}) as serving_it:
        monkeypatch.setenv("HF_ENDPOINT", serving_it.url)
        yield serving_it


def quiet(done: int, total: int | None) -> None:
    pass


def whole_files(folder: Path) -> list[str]:
    """What a reader of the cache could take for a weight."""
    kept = (p for p in folder.rglob("*") if p.is_file() and ".locks" not in p.parts and p.suffix != ".lock")
    return sorted(p.name for p in kept)


class TestOnHub:
    FILE = OnHub(REPOSITORY, ("model.safetensors", "pytorch_model.bin"))

    def test_a_file_lies_where_the_hubs_own_client_finds_it(self, hub: Hub, cache: Path) -> None:
        assert self.FILE.find() is None
        path = self.FILE.fetch(quiet)
        assert path.read_bytes() == WEIGHTS
        assert try_to_load_from_cache(REPOSITORY, "model.safetensors", cache_dir=cache) == str(path)
        asked = len(hub.asked)
        assert self.FILE.fetch(quiet) == path
        assert len(hub.asked) == asked
        assert whole_files(cache) == ["main", "model.safetensors"]

    def test_the_next_name_is_taken_where_the_first_is_not_published(self, hub: Hub, cache: Path) -> None:
        path = OnHub(REPOSITORY, ("absent.safetensors", "model.safetensors")).fetch(quiet)
        assert path.name == "model.safetensors"
        with pytest.raises(Unavailable, match="answers 404"):
            OnHub(REPOSITORY, ("absent.bin",)).fetch(quiet)

    def test_companions_come_along_where_there_are_any(self, hub: Hub, cache: Path) -> None:
        also = ("tokenizer.json", "vocab.txt")
        path = OnHub(REPOSITORY, ("model.safetensors",), also=also).fetch(quiet)
        assert sorted(p.name for p in path.parent.iterdir()) == ["model.safetensors", "tokenizer.json"]

    def test_another_content_than_the_hub_names_never_gets_into_the_cache(self, hub: Hub, cache: Path) -> None:
        hub.wrong = True
        with pytest.raises(GoodshotError, match=rf"SHA-256 expected {DIGEST}, got "):
            self.FILE.fetch(quiet)
        assert self.FILE.find() is None
        assert whole_files(cache) == []
        hub.wrong = False
        assert self.FILE.fetch(quiet).read_bytes() == WEIGHTS

    def test_another_hash_than_the_published_one_is_refused(self, hub: Hub, cache: Path) -> None:
        with pytest.raises(GoodshotError, match=r"SHA-256 expected 0{64}"):
            OnHub(REPOSITORY, ("model.safetensors",), "0" * 64).fetch(quiet)
        assert whole_files(cache) == []

    def test_a_token_goes_to_the_hub_and_to_no_other_host(
        self, hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.gated = True
        with pytest.raises(Unavailable, match=r"accept its terms at .*and set HF_TOKEN"):
            self.FILE.fetch(quiet)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        self.FILE.fetch(quiet)
        told = {(path.startswith("/cdn"), token) for _, path, token in hub.asked if token or path.startswith("/cdn")}
        assert told == {(False, "Bearer hf_secret"), (True, None)}

    def test_offline_is_respected(self, hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(Unavailable, match="HF_HUB_OFFLINE forbids"):
            self.FILE.fetch(quiet)
        assert not hub.asked

    def test_a_server_that_is_no_hub_is_named(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed_port()}")
        with pytest.raises(Unavailable, match="cannot be reached"):
            self.FILE.fetch(quiet)
        assert not cache.exists()

    def test_a_proxy_that_refuses_is_named(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("NO_PROXY")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
        monkeypatch.setenv("HTTP_PROXY", f"http://me:secret@127.0.0.1:{closed_port()}")
        with pytest.raises(Unavailable, match=r"the proxy 127\.0\.0\.1:\d+ refuses") as caught:
            self.FILE.fetch(quiet)
        assert "secret" not in str(caught.value)
        assert not cache.exists()

    def test_what_is_there_is_served_from_a_cache_that_cannot_be_written(self, hub: Hub, cache: Path) -> None:
        path = self.FILE.fetch(quiet)
        folders = [cache, *(p for p in cache.rglob("*") if p.is_dir())]
        before = {p: p.stat().st_mtime_ns for p in (cache, *cache.rglob("*"))}
        asked = len(hub.asked)
        for folder in folders:
            folder.chmod(0o555)
        try:
            assert self.FILE.fetch(quiet) == path
        finally:
            for folder in folders:
                folder.chmod(0o755)
        # An administrator may write whatever the mode says: nothing is tried either, not even a lock.
        assert {p: p.stat().st_mtime_ns for p in (cache, *cache.rglob("*"))} == before
        assert len(hub.asked) == asked

    def test_what_comes_later_is_of_the_commit_that_is_here(self, hub: Hub, cache: Path) -> None:
        path = self.FILE.fetch(quiet)
        hub.commit = "4567def"
        tokenizer = OnHub(REPOSITORY, ("tokenizer.json",))
        assert tokenizer.fetch(quiet).parent == path.parent
        assert self.FILE.find() == path

    def test_companions_that_an_interruption_left_out_are_brought(self, hub: Hub, cache: Path) -> None:
        file = OnHub(REPOSITORY, ("model.safetensors",), also=("tokenizer.json",))

        def stopped(done: int, total: int | None) -> None:
            if total and total > 1000:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            file.fetch(stopped)
        assert file.find() is None
        path = file.fetch(quiet)
        assert sorted(p.name for p in path.parent.iterdir()) == ["model.safetensors", "tokenizer.json"]

    def test_files_of_one_name_in_two_folders_are_kept_apart(self, hub: Hub, cache: Path) -> None:
        hub.files |= {f"{REPOSITORY}/{folder}/config.json": folder.encode() * 9 for folder in ("unet", "bert")}
        first, second = (OnHub(REPOSITORY, (f"{folder}/config.json",)) for folder in ("unet", "bert"))

        def stopped(done: int, total: int | None) -> None:
            if done:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            first.fetch(stopped)
        assert second.fetch(quiet).read_bytes() == b"bert" * 9
        assert first.fetch(quiet).read_bytes() == b"unet" * 9

    @pytest.mark.parametrize(
        ("variable", "value", "problem"),
        [
            ("HF_ENDPOINT", "http://me:hunter2@127.0.0.1:1", "holds a name or password"),
            ("HF_TOKEN", "hf_hunter2…", "holds a character that no token has"),
            ("HTTP_PROXY", "http://me:hunter2@127.0.0.1:99999", "cannot be"),
            ("HTTP_PROXY", "http://me:hunt/er2@127.0.0.1:1", "cannot be"),
        ],
    )
    def test_no_password_is_shown(
        self, cache: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, problem: str
    ) -> None:
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
        monkeypatch.setenv(variable, value)
        with pytest.raises(GoodshotError, match=problem) as caught:
            self.FILE.fetch(quiet)
        assert "hunt" not in str(caught.value)

    def test_two_processes_fetch_it_once(self, hub: Hub, cache: Path) -> None:
        code = (
            "import sys; from goodshot.components.weights.files import OnHub;"
            f"print(OnHub({REPOSITORY!r}, ('model.safetensors',)).fetch(lambda *_: None))"
        )
        environment = {**os.environ, "HF_HUB_CACHE": str(cache)}
        both = [
            subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        printed = {process.communicate(timeout=120)[0].strip() for process in both}
        assert [process.returncode for process in both] == [0, 0]
        (path,) = printed
        assert Path(path).read_bytes() == WEIGHTS
        assert sum(method == "GET" for method, _, _ in hub.asked) == 2  # one, and where it leads


class TestAtURL:
    def file(self, url: str, folder: Path, sha256: str = DIGEST) -> AtURL:
        return AtURL(url, lambda: folder, "weights.ckpt", sha256)

    def test_a_published_beginning_is_enough(self, tmp_path: Path) -> None:
        with serving(WEIGHTS) as served:
            path = self.file(served.url, tmp_path, DIGEST[:8]).fetch(quiet)
        assert path.read_bytes() == WEIGHTS
        assert whole_files(tmp_path) == ["weights.ckpt"]

    @pytest.mark.parametrize("published", [DIGEST, DIGEST[:8], ""])
    def test_a_truncated_download_is_not_taken_for_the_whole(self, tmp_path: Path, published: str) -> None:
        with serving(WEIGHTS) as served:
            served.cuts = [len(WEIGHTS) // 2] * 9
            served.ranges = False
            with pytest.raises(Unavailable, match="what has arrived is kept"):
                self.file(served.url, tmp_path, published).fetch(quiet)
            assert self.file(served.url, tmp_path).find() is None
            served.cuts, served.ranges = [], True
            assert self.file(served.url, tmp_path, published).fetch(quiet).read_bytes() == WEIGHTS

    def test_a_wrong_hash_leaves_nothing(self, tmp_path: Path) -> None:
        with serving(WEIGHTS) as served, pytest.raises(GoodshotError, match="SHA-256 expected 12345678, got"):
            self.file(served.url, tmp_path, "12345678").fetch(quiet)
        assert whole_files(tmp_path) == []

    def test_a_cache_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        blocked = tmp_path / "file"
        blocked.write_text("where the folder should be")
        with serving(WEIGHTS) as served, pytest.raises(BadInput, match="cannot be written"):
            self.file(served.url, blocked).fetch(quiet)


def zipped(name: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(name, b"teacher")
    return content.getvalue()


def tarred(name: str) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = 7
        archive.addfile(member, io.BytesIO(b"teacher"))
    return content.getvalue()


class TestInArchive:
    HOLDS = "teachers/small.pth"

    def file(self, url: str, folder: Path, content: bytes) -> InArchive:
        return InArchive(url, lambda: folder, self.HOLDS, hashlib.sha256(content).hexdigest())

    @pytest.mark.parametrize("content", [zipped(HOLDS), tarred(HOLDS), zipped("small.pth")])
    def test_it_is_unpacked_and_the_archive_is_not_kept(self, tmp_path: Path, content: bytes) -> None:
        with serving(content, "teachers.zip") as served:
            path = self.file(served.url, tmp_path, content).fetch(quiet)
        assert path == tmp_path / self.HOLDS
        assert path.read_bytes() == b"teacher"
        assert whole_files(tmp_path) == ["small.pth"]

    def test_an_archive_without_it_is_named(self, tmp_path: Path) -> None:
        content = zipped("other.pth")
        with (
            serving(content, "teachers.zip") as served,
            pytest.raises(Unavailable, match=r"holds no teachers/small\.pth"),
        ):
            self.file(served.url, tmp_path, content).fetch(quiet)

    def test_what_is_there_of_it_is_completed_and_kept(self, tmp_path: Path) -> None:
        content = zipped(self.HOLDS)
        (tmp_path / "teachers").mkdir()
        (tmp_path / "teachers" / "medium.pth").write_bytes(b"the user's")
        with serving(content, "teachers.zip") as served:
            assert self.file(served.url, tmp_path, content).fetch(quiet).read_bytes() == b"teacher"
        assert (tmp_path / "teachers" / "medium.pth").read_bytes() == b"the user's"

    def test_threads_unpack_it_once(self, tmp_path: Path) -> None:
        content = zipped(self.HOLDS)
        with serving(content, "teachers.zip") as served:
            found: list[Path] = []
            fetch = self.file(served.url, tmp_path, content).fetch
            threads = [threading.Thread(target=lambda: found.append(fetch(quiet))) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(served.gets) == 1
        assert found == [tmp_path / self.HOLDS] * 3
