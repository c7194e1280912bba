"""Unpack an untrusted .zip, .tar, .tar.gz or .tar.xz: completely or not at all, and never outside the folder.

The standard library writes the files, under names that are checked here first; modes and owners have no effect. Every
link is refused: datasets contain no links, and checks of link targets are error-prone.
"""

from __future__ import annotations

import errno
import gzip
import lzma
import re
import shutil
import stat
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from goodshot.components.download import readable, writing
from goodshot.components.errors import BadInput, GoodshotError

Progress = Callable[[int, int], None]
"""Progress callback: the number of the archive's bytes read so far, and their total number."""

CHUNK = 1 << 20
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    OSError,
    # raised by zipfile for a password or an unknown compression, by tarfile for malformed numbers and names
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True)
class _Member:
    name: str
    kind: str
    """The kind of the member: `file`, `folder`, or the word for another kind."""
    size: int
    extract: Callable[[str], None]
    """Function that writes the member to a given path."""


def unpack(archive: Path, folder: Path, on_progress: Progress = lambda done, total: None) -> None:
    """Unpacks the archive as the new `folder`, which appears only when it is complete.

    Raises:
        BadInput: the archive is damaged, encrypted or of no known kind, one of its members may not be unpacked,
            or `folder` exists or cannot be written.
        GoodshotError: the device has no room for what the archive declares.
    """
    if folder.exists():
        raise BadInput(f"{folder}: exists already; remove it or choose another folder")
    with writing(folder):
        unfinished = folder.with_name(f".{folder.name}.unpacking-{uuid.uuid4().hex[:8]}")
        unfinished.mkdir(parents=True)
    try:
        _extract(archive, unfinished, on_progress)
        with writing(folder):
            unfinished.replace(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _extract(archive: Path, folder: Path, on_progress: Progress) -> None:
    with ExitStack() as stack:
        stack.enter_context(_reported(archive, folder))
        raw = stack.enter_context(archive.open("rb"))
        total = archive.stat().st_size
        for member in _members(archive, raw, folder, stack):
            path = _inside(archive, member.name)
            if member.kind == "folder":
                (folder / path).mkdir(parents=True, exist_ok=True)
            elif member.kind != "file":
                raise BadInput(f"{archive}: {member.name} is {member.kind}, which is not unpacked; get another archive")
            elif (folder / path).exists():
                raise BadInput(f"{archive}: {member.name} stands in it twice; get another archive")
            else:
                _check_space(archive, folder, member.size)
                member.extract(str(path))
                on_progress(raw.tell(), total)


def _inside(archive: Path, name: str) -> PurePosixPath:
    """Returns the member's path below the folder. Raises BadInput if it leads out."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:|.*\0", name, re.DOTALL):
        raise BadInput(f"{archive}: {name} leads out of the folder it is unpacked to; do not trust this archive")
    return path


def _check_space(archive: Path, folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise GoodshotError(
            f"{archive}: unpacks to {readable(size)} more and {readable(free)} are free in {folder.parent}; make room"
        )


def _members(archive: Path, raw: IO[bytes], folder: Path, stack: ExitStack) -> Iterator[_Member]:
    start = raw.read(512)
    raw.seek(0)
    if start.startswith(b"PK"):
        unzipped = stack.enter_context(zipfile.ZipFile(raw))
        _check_space(archive, folder, sum(info.file_size for info in unzipped.infolist()))
        return _zip_members(archive, unzipped, folder)
    if start.startswith(b"\x1f\x8b"):
        return _tar_members(stack.enter_context(gzip.open(raw)), folder)
    if start.startswith(b"\xfd7zXZ\x00"):
        return _tar_members(stack.enter_context(lzma.open(raw)), folder)
    if start[257:262] == b"ustar":
        return _tar_members(raw, folder)
    raise BadInput(f"{archive}: is no .zip, .tar, .tar.gz or .tar.xz; give the archive as it was published")


def _zip_members(archive: Path, unzipped: zipfile.ZipFile, folder: Path) -> Iterator[_Member]:
    for info in sorted(unzipped.infolist(), key=lambda info: info.header_offset):
        if info.flag_bits & 1:
            raise BadInput(f"{archive}: {info.filename} is encrypted; give an archive without a password")
        mode = stat.S_IFMT(info.external_attr >> 16)
        kind = {0: "file", stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "a link"}.get(mode, "a device")
        kind = "folder" if info.is_dir() and kind == "file" else kind

        def extract(path: str, info: zipfile.ZipInfo = info) -> None:
            info.filename = path
            unzipped.extract(info, folder)

        yield _Member(info.filename, kind, info.file_size, extract)


def _tar_members(stream: Any, folder: Path) -> Iterator[_Member]:
    blocks = _Blocks(stream)
    with tarfile.TarFile(fileobj=blocks) as tar:  # type: ignore[arg-type]
        for info in tar:
            is_link = info.issym() or info.islnk()
            kind = "file" if info.isreg() else "folder" if info.isdir() else "a link" if is_link else "a device"

            def extract(path: str, info: tarfile.TarInfo = info) -> None:
                tar.extract(info.replace(name=path, deep=False), folder, set_attrs=False, filter="data")

            yield _Member(info.name, kind, info.size, extract)
        if blocks.last != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("its end is missing")
    while stream.read(CHUNK):
        # read to the end of the compressed stream, which holds the checksum
        pass


class _Blocks:
    """A stream that remembers the last block read: tarfile takes a broken header for the end of the archive."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.last = stream, b""
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(size)
        self.last = data[-tarfile.BLOCKSIZE :]
        return data


@contextmanager
def _reported(archive: Path, folder: Path) -> Iterator[None]:
    """Turns exceptions of the standard library into one-line errors about the archive, or about a full disk."""
    try:
        yield
    except GoodshotError:
        raise
    except _DAMAGED as error:
        number = getattr(error, "errno", None)
        # The error of a damaged archive has no errno, or comes from a seek before the file's beginning.
        if number not in (None, errno.EINVAL) and getattr(error, "filename", None) != str(archive):
            with writing(folder):
                raise
        why = str(getattr(error, "strerror", None) or error) or type(error).__name__
        raise BadInput(f"{archive}: cannot be unpacked ({why}); it is damaged, get it again") from error
