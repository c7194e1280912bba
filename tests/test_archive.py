"""Archives from strangers: what leads out is refused, what is damaged is named, nothing half unpacked is left."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from goodshot.components import archive as module
from goodshot.components.archive import unpack
from goodshot.components.errors import BadInput, GoodshotError

FILES = {
    "top/a b/größe – 寸法.png": os.urandom(3 * 1024 * 1024 + 7),
    "top/empty.txt": b"",
    "top/exact.bin": b"x" * 1024,
    "readme.txt": b"hello",
}
KINDS = ["zip", "tar", "tar.gz", "tar.xz"]


def packed(path: Path, files: dict[str, bytes]) -> Path:
    """An archive of the kind its name says, with a folder entry."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
            zipped.mkdir("top/no files")
            for name, data in files.items():
                zipped.writestr(name, data)
        return path
    with tarfile.open(path, f"w:{path.suffix[1:]}" if path.suffix != ".tar" else "w") as tar:
        folder = tarfile.TarInfo("./top/no files")
        # Its mode, without the right to write, must not reach the disk.
        folder.type, folder.mode = tarfile.DIRTYPE, 0o555
        tar.addfile(folder)
        for name, data in files.items():
            add(tar, name, data)
    return path


def add(tar: tarfile.TarFile, name: str, data: bytes = b"", **fields: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    tar.addfile(info, io.BytesIO(data))


def refused(archive: Path, tmp_path: Path, match: str, error: type[Exception] = BadInput) -> None:
    before = sorted(p for p in tmp_path.rglob("*"))
    with pytest.raises(error, match=match) as failure:
        unpack(archive, tmp_path / "out")
    assert str(archive) in str(failure.value)
    assert "\n" not in str(failure.value)
    assert sorted(p for p in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", KINDS)
def test_all_of_it_comes_out(kind: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    archive = packed(tmp_path / f"archive.{kind}", FILES)
    unpack(archive, tmp_path / "deep/er/out", lambda done, total: seen.append((done, total)))
    out = tmp_path / "deep/er/out"
    assert {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()} == FILES
    assert (out / "top/no files").is_dir()
    assert seen == sorted(seen)
    assert all(0 <= done <= total == archive.stat().st_size for done, total in seen)
    assert [p.name for p in out.parent.iterdir()] == ["out"]


def test_the_kind_is_told_by_content(tmp_path: Path) -> None:
    archive = packed(tmp_path / "archive.tar.xz", FILES).rename(tmp_path / "download (1)")
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out/readme.txt").read_bytes() == b"hello"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    ["../evil", "a/../../evil", "/tmp/evil", "..\\evil", "\\evil", "C:\\evil", "C:evil"],
)
def test_names_that_lead_out(kind: str, name: str, tmp_path: Path) -> None:
    refused(packed(tmp_path / f"archive.{kind}", {"fine": b"", name: b"x"}), tmp_path, "leads out of the folder")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
@pytest.mark.parametrize("target", ["/etc", "../../out", "fine"])
def test_links_and_devices_in_a_tar(kind: bytes, target: str, tmp_path: Path) -> None:
    archive = tmp_path / "archive.tar"
    with tarfile.open(archive, "w") as tar:
        add(tar, "fine", b"fine")
        add(tar, "way", type=kind, linkname=target)
        add(tar, "way/evil", b"x")
    refused(archive, tmp_path, "way is a (link|device), which is not unpacked")


def test_links_in_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as zipped:
        info = zipfile.ZipInfo("way")
        info.external_attr = 0o120777 << 16
        zipped.writestr(info, "/etc")
    refused(tmp_path / "archive.zip", tmp_path, "way is a link")


def test_a_member_that_stands_twice(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "archive.tar", "w") as tar:
        add(tar, "one", b"1")
        add(tar, "./one", b"2")
    refused(tmp_path / "archive.tar", tmp_path, "one stands in it twice")


def test_an_encrypted_zip(tmp_path: Path) -> None:
    archive = packed(tmp_path / "archive.zip", {"secret.png": b"x"})
    data = bytearray(archive.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := data.find(signature, at + 1)) >= 0:
            data[at + flags] |= 1
    archive.write_bytes(data)
    refused(archive, tmp_path, "is encrypted; give an archive without a password")


def cut_in_half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def cut_the_end(data: bytes) -> bytes:
    return data[:-8]


def flip_in_the_middle(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(b ^ 0xFF for b in data[middle : middle + 64]) + data[middle + 64 :]


def text_after_the_start(data: bytes) -> bytes:
    return data[:300] + b"text" * 100


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", [cut_in_half, cut_the_end, flip_in_the_middle, text_after_the_start])
def test_damage_is_named(kind: str, damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    if kind == "tar" and damage in (flip_in_the_middle, cut_the_end):
        pytest.skip("a plain tar has no checksum of its content, and two blocks of zeros at its end")
    archive = packed(tmp_path / f"archive.{kind}", FILES)
    archive.write_bytes(damage(archive.read_bytes()))
    refused(archive, tmp_path, "cannot be unpacked.* it is damaged, get it again")


@pytest.mark.parametrize("end", [0, 512, 700])
def test_a_tar_cut_between_or_in_headers(end: int, tmp_path: Path) -> None:
    archive = tmp_path / "archive.tar"
    with tarfile.open(archive, "w") as tar:
        add(tar, "one", b"1" * 512)
        add(tar, "two", b"2" * 512)
    archive.write_bytes(archive.read_bytes()[: 1024 + end])
    refused(archive, tmp_path, "damaged")


def test_a_broken_header_is_not_the_end(tmp_path: Path) -> None:
    archive = tmp_path / "archive.tar"
    with tarfile.open(archive, "w") as tar:
        add(tar, "one", b"1" * 512)
        add(tar, "two", b"2" * 512)
    data = archive.read_bytes()
    archive.write_bytes(data[:1024] + b"?" * 512 + data[1536:])
    refused(archive, tmp_path, "its end is missing")


@pytest.mark.parametrize("content", [b"", b"PK", b"<html>not here</html>", b"\x1f\x8b", b"\xfd7zXZ\x00"])
def test_what_is_no_archive(content: bytes, tmp_path: Path) -> None:
    archive = tmp_path / "archive.zip"
    archive.write_bytes(content)
    refused(archive, tmp_path, "is no .zip|cannot be unpacked")


@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_is_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed(tmp_path / f"archive.{kind}", {"bomb": bytes(1 << 20)})
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    refused(archive, tmp_path, "unpacks to 1 MB more and 1 kB are free", GoodshotError)


def test_stopped_midway_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    archive = packed(tmp_path / "archive.tar.gz", FILES)
    with pytest.raises(KeyboardInterrupt):
        unpack(archive, tmp_path / "out", stop)
    assert [p.name for p in tmp_path.iterdir()] == ["archive.tar.gz"]


def test_a_folder_that_is_there_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(BadInput, match="exists already"):
        unpack(packed(tmp_path / "archive.zip", FILES), tmp_path / "out")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    archive = packed(tmp_path / "archive.zip", FILES)
    with pytest.raises(BadInput, match="cannot be written"):
        unpack(archive, archive / "out")
