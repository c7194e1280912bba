"""`goodshot fetch` from a server on loopback: from the archive to a study's data, and every way it is stopped."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from goodshot.components import download as download_module
from goodshot.components.data import datasets
from goodshot.components.data.datasets.dataset import Dataset
from goodshot.runner.cli import main
from goodshot.runner.machine import fetch_dataset, transfer
from tests.data import miniatures
from tests.loopback import Served, closed_port, serving


def mvtec(root: Path) -> Path:
    for place, count in (("train/good", 3), ("test/good", 2), ("test/broken", 2)):
        for i in range(count):
            miniatures.photo(root / "bottle" / place / f"{i:03d}.png", 3 * len(place) + i)
    for i in range(2):
        miniatures.mask(root / "bottle/ground_truth/broken" / f"{i:03d}_mask.png", (slice(i, 9), slice(0, 9)))
    return root


def one_loco(root: Path) -> Path:
    return miniatures.loco(root)


def zipped(folder: Path, archive: Path) -> Path:
    """As BTAD's: everything below one folder."""
    with zipfile.ZipFile(archive, "w") as out:
        for path in sorted(folder.rglob("*")):
            out.write(path, Path("BTech_Dataset_transformed") / path.relative_to(folder))
    return archive


def tarred(folder: Path, archive: Path) -> Path:
    """As MVTec's: the categories on top, beside them the licence."""
    (folder / "license.txt").write_text("the licence")
    with tarfile.open(archive, "w:xz") as out:
        for path in sorted(folder.iterdir()):
            out.add(path, path.name)
    return archive


MAKERS: dict[str, tuple[Callable[[Path], Path], Callable[[Path, Path], Path], tuple[str, ...]]] = {
    "mvtec_ad": (mvtec, tarred, ("bottle",)),
    "mvtec_loco": (one_loco, tarred, ("pushpins",)),
    "btad": (miniatures.btad, zipped, ("01", "02", "03")),
}


@pytest.fixture(autouse=True)
def _direct_and_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download_module, "WAITS", (0.0,))
    # The miniatures are smaller than a real chunk.
    monkeypatch.setattr(download_module, "CHUNK", 16384)


def published_as(name: str, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> Dataset:
    """The dataset, known from now on with these fields of its publisher."""
    known = datasets.dataset_of(name)
    changed = replace(known, publisher=replace(known.published(), **fields))
    monkeypatch.setattr(datasets, "DATASETS", tuple(changed if d is known else d for d in datasets.DATASETS))
    return changed


def publish(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A miniature of the dataset as an archive that the dataset's publisher offers, who has no server yet."""
    make, pack, categories = MAKERS[name]
    known = datasets.dataset_of(name)
    archive = pack(make(folder / "source"), folder / known.published().file)
    mini = replace(known, categories=categories)
    monkeypatch.setattr(datasets, "DATASETS", tuple(mini if d is known else d for d in datasets.DATASETS))
    published_as(name, monkeypatch, size=None, sha256=hashlib.sha256(archive.read_bytes()).hexdigest())
    return archive


@pytest.fixture
def btad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    archive = publish("btad", tmp_path, monkeypatch)
    with serving(archive.read_bytes(), "btad.zip") as served:
        published_as("btad", monkeypatch, url=served.url)
        yield served


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "my data" / "btad"


def fetch(root: Path, *more: str, name: str = "btad") -> int:
    return main(["fetch", name, "--root", str(root), *more])


def refused(code: int, capsys: pytest.CaptureFixture[str]) -> str:
    line = capsys.readouterr().err.strip()
    assert code in (1, 2)
    assert len(line.splitlines()) == 1
    assert "Traceback" not in line
    return line


def visible(root: Path) -> list[str]:
    return sorted(p.name for p in root.iterdir() if not p.name.startswith("."))


def kept(root: Path) -> list[str]:
    return sorted(p.name for p in (root / ".downloads").iterdir() if p.suffix != ".lock")


@pytest.mark.parametrize("name", MAKERS)
def test_from_the_publisher_to_shards(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = publish(name, tmp_path, monkeypatch)
    root = tmp_path / "my data"
    with serving(archive.read_bytes(), archive.name) as served:
        dataset = published_as(name, monkeypatch, url=served.url)
        publisher = dataset.published()
        assert fetch(root, name=name) == 0
    said = capsys.readouterr().out
    before, after = said.split(f"downloading {publisher.file}: 0 %", 1)
    for shown in (dataset.title, publisher.page, publisher.licence.name, publisher.licence.deed, publisher.citation):
        assert shown in before
    assert "100 % of" in after
    assert {*dataset.categories} <= {*visible(root)}
    assert kept(root) == [f"{name}.json"]
    assert json.loads((root / ".downloads" / f"{name}.json").read_text())["sha256"] == publisher.sha256
    out = tmp_path / "shards"
    assert main(["shard", name, "--root", str(root), "--out", str(out), "--strict"]) == 0
    assert {*json.loads((out / "manifest.json").read_text())["categories"]} == {*dataset.categories}


def test_a_second_time_nothing_is_downloaded(btad: Served, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch(root) == 0
    assert fetch(root) == 0
    assert "btad is fetched already" in capsys.readouterr().out.splitlines()[-1]
    assert len(btad.gets) == 1


def test_what_a_user_put_there_is_enough(btad: Served, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    miniatures.btad(root)
    assert fetch(root) == 0
    assert "of unknown origin" in capsys.readouterr().out
    assert not btad.gets


def test_what_is_there_is_left_alone(btad: Served, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "02/train").mkdir(parents=True)
    (root / "02/mine.txt").write_text("mine")
    assert fetch(root) == 0
    assert f"{root / '02'}: exists already and is not changed" in capsys.readouterr().out
    assert (root / "02/mine.txt").exists()
    assert (root / "01/train/ok").is_dir()


def test_a_folder_of_another_dataset(btad: Served, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mvtec(root)
    code = fetch(root)
    assert "holds categories that are not of btad (bottle); choose another folder" in refused(code, capsys)
    assert code == 2
    assert not btad.gets


def test_the_archive_is_kept_on_demand(btad: Served, root: Path) -> None:
    assert fetch(root, "--keep-archive") == 0
    assert kept(root) == ["btad.json", "btad.zip"]


def test_an_archive_downloaded_by_hand(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = publish("btad", tmp_path, monkeypatch)
    given = archive.rename(tmp_path / "btad (1).zip")
    assert fetch(root, "--archive", str(given)) == 0
    assert visible(root) == ["01", "02", "03"]
    assert given.exists()
    assert json.loads((root / ".downloads/btad.json").read_text())["source"] == "btad (1).zip"

    capsys.readouterr()
    shutil.rmtree(root)
    given.write_bytes(b"another")
    code = fetch(root, "--archive", str(given))
    assert f"{given}: has SHA-256" in refused(code, capsys)
    assert code == 2
    assert given.exists()


def test_an_archive_that_is_not_there(btad: Served, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such file; give the btad.zip" in refused(fetch(root, "--archive", "nowhere.zip"), capsys)
    assert not root.exists()


def test_a_link_that_is_gone_says_how_to_go_on(btad: Served, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    btad.statuses = [404]
    code = fetch(root)
    line = refused(code, capsys)
    assert code == 1
    assert "the server answers 404 Not Found" in line
    assert f"by hand from {datasets.dataset_of('btad').published().page}" in line
    assert line.endswith(f"run: goodshot fetch btad --root '{root}' --archive btad.zip")


def test_no_network(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    publish("btad", tmp_path, monkeypatch)
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port()}")
    published_as("btad", monkeypatch, url="http://host.invalid/btad.zip")
    line = refused(fetch(root), capsys)
    assert "proxy" in line
    assert "--archive btad.zip" in line


def test_a_changed_archive(btad: Served, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    btad.content += b"?"
    code = fetch(root)
    assert "SHA-256 expected" in refused(code, capsys)
    assert code == 1
    assert kept(root) == []


@pytest.mark.parametrize("where", ["downloading", "unpacking"])
def test_ctrl_c_is_one_line_and_the_same_command_continues(
    where: str, btad: Served, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(doing: str, say: transfer.Say) -> transfer.Report:
        def report(done: int, total: int | None) -> None:
            if doing.startswith(where) and done:
                raise KeyboardInterrupt

        return report

    with monkeypatch.context() as patch:
        patch.setattr(transfer, "_lines", stop)
        assert fetch(root) == 130
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == "stopped; downloaded parts are kept, the same command continues"
    assert not captured.err
    assert visible(root) == []
    assert fetch(root) == 0
    assert visible(root) == ["01", "02", "03"]
    assert ["Range" in headers for headers in btad.gets] == ([False, True] if where == "downloading" else [False])


def test_killed_between_two_categories(btad: Served, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def stop(self: Path, target: Path) -> Path:
        if self.name == "02":
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", stop)
        assert fetch(root) == 130
    assert visible(root) == ["01"]
    assert fetch(root) == 0
    assert visible(root) == ["01", "02", "03"]
    assert kept(root) == ["btad.json"]
    assert len(btad.gets) == 1


def test_killed_in_the_last_lines(btad: Served, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fetch_dataset, "_finish", stop)
        assert fetch(root) == 130
    assert visible(root) == ["01", "02", "03"]
    assert fetch(root) == 0
    assert kept(root) == ["btad.json"]
    assert len(btad.gets) == 1


def test_leftovers_of_a_killed_unpacking_are_removed(btad: Served, root: Path) -> None:
    sha256 = datasets.dataset_of("btad").published().sha256
    (root / f".downloads/.btad-{sha256[:12]}.unpacking-01234567").mkdir(parents=True)
    assert fetch(root) == 0
    assert kept(root) == ["btad.json"]


def test_two_at_once_fetch_once(btad: Served, root: Path) -> None:
    publisher = datasets.dataset_of("btad").published()
    code = (
        "import sys\nfrom dataclasses import replace\nfrom goodshot.components.data import datasets\n"
        f"publisher = replace(datasets.BTAD.publisher, url={publisher.url!r}, sha256={publisher.sha256!r})\n"
        "datasets.DATASETS = (replace(datasets.BTAD, publisher=publisher), *datasets.DATASETS)\n"
        "from goodshot.runner.cli import main\nprint('started', flush=True)\nsys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "fetch", "btad", "--root", str(root)]
    btad.go.clear()
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.stdout.readline() for process in both if process.stdout] == ["started\n"] * 2
    btad.go.set()
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert len(btad.gets) == 1
    assert sum("is fetched already" in text for text in said) == 1


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("folder", "a folder of your own"),
        ("mvtec", "did you mean mvtec_ad"),
    ],
)
def test_what_nobody_publishes(name: str, named: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = fetch(root, name=name)
    assert named in refused(code, capsys)
    assert code == 2
    assert not root.exists()


def test_a_root_that_cannot_be_written(btad: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    code = fetch(tmp_path / "file")
    assert "cannot be written" in refused(code, capsys)
    assert code == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="to root no folder is read-only")
def test_a_read_only_root(btad: Served, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root.mkdir(parents=True, mode=0o500)
    assert "Permission denied" in refused(fetch(root), capsys)


def test_every_published_dataset_is_described() -> None:
    assert {d.name for d in datasets.DATASETS if d.nothing_to_fetch} == {"demo", "folder"}
    for publisher in (d.published() for d in datasets.DATASETS if not d.nothing_to_fetch):
        assert len(publisher.sha256) == 64
        assert publisher.url.startswith("https://")
        assert publisher.licence.deed.startswith("https://creativecommons.org/licenses/")
