"""Unpack a .zip, .tar, .tar.gz or .tar.xz from an untrusted source: only into the folder, and all of it or nothing.

Members are written as new plain files and folders by this module only, so an archive's modes, owners and links
have no effect. Every link is refused: a dataset has none, and code that checks where links lead has often been
wrong.
"""

from __future__ import annotations

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

from components.download import readable, writing
from components.errors import BadInput, GoodshotError

Progress = Callable[[int, int], None]
"""Called with the number of the archive's bytes that have been read, and with their total number."""

CHUNK = 1 << 20
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    OSError,
    # zipfile raises these for a password or an unknown compression; tarfile for invalid numbers and names.
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True)
class _Member:
    name: str
    kind: str
    """`file`, `folder`, or the name of another kind of member."""
    size: int
    open: Callable[[], IO[bytes]]


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
        with _reading(archive):
            raw = stack.enter_context(archive.open("rb"))
            total = archive.stat().st_size
            members = _members(archive, raw, folder, stack)
        while member := _next(archive, members):
            target = folder / _inside(archive, member.name)
            if member.kind == "folder":
                with writing(target):
                    target.mkdir(parents=True, exist_ok=True)
            else:
                _check_space(archive, folder, member.size)
                _copy(archive, member, target, lambda: on_progress(raw.tell(), total))


def _next(archive: Path, members: Iterator[_Member]) -> _Member | None:
    with _reading(archive):
        member = next(members, None)
    if member and member.kind not in ("file", "folder"):
        raise BadInput(f"{archive}: {member.name} is {member.kind}, which is not unpacked; get another archive")
    return member


def _copy(archive: Path, member: _Member, target: Path, on_chunk: Callable[[], None]) -> None:
    with _reading(archive, member.name):
        source = member.open()
    with source, writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            raise BadInput(f"{archive}: contains {member.name} twice; get another archive")
        with target.open("xb") as sink:
            while chunk := _read(archive, member, source):
                sink.write(chunk)
                on_chunk()


def _read(archive: Path, member: _Member, source: IO[bytes]) -> bytes:
    with _reading(archive, member.name):
        return source.read(CHUNK)


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
        return _zip_members(archive, unzipped)
    if start.startswith(b"\x1f\x8b"):
        return _tar_members(stack.enter_context(gzip.open(raw)))
    if start.startswith(b"\xfd7zXZ\x00"):
        return _tar_members(stack.enter_context(lzma.open(raw)))
    if start[257:262] == b"ustar":
        return _tar_members(raw)
    raise BadInput(f"{archive}: is not a .zip, .tar, .tar.gz or .tar.xz; give the archive as it was published")


def _zip_members(archive: Path, unzipped: zipfile.ZipFile) -> Iterator[_Member]:
    for info in sorted(unzipped.infolist(), key=lambda info: info.header_offset):
        if info.flag_bits & 1:
            raise BadInput(f"{archive}: {info.filename} is encrypted; give an archive without a password")
        mode = stat.S_IFMT(info.external_attr >> 16)
        kind = {0: "file", stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "a link"}.get(mode, "a device")
        kind = "folder" if info.is_dir() and kind == "file" else kind
        yield _Member(info.filename, kind, info.file_size, lambda info=info: unzipped.open(info))  # type: ignore[misc]


def _tar_members(stream: Any) -> Iterator[_Member]:
    blocks = _Blocks(stream)
    with tarfile.TarFile(fileobj=blocks) as tar:  # type: ignore[arg-type]
        while (info := tar.next()) is not None:
            kind = "file" if info.isreg() else "folder" if info.isdir() else "a link" if _links(info) else "a device"
            yield _Member(info.name, kind, info.size, lambda info=info: tar.extractfile(info))  # type: ignore
            # tarfile keeps every member that it has read
            tar.members = []  # type: ignore[attr-defined]
        if blocks.last != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("its end is missing")
    while stream.read(CHUNK):
        # read to the end of the compressed stream, which has the checksum
        pass


def _links(info: tarfile.TarInfo) -> bool:
    return info.issym() or info.islnk()


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
def _reading(archive: Path, member: str = "") -> Iterator[None]:
    try:
        yield
    except GoodshotError:
        raise
    except _DAMAGED as error:
        where = f" at {member}" if member else ""
        why = str(getattr(error, "strerror", None) or error) or type(error).__name__
        raise BadInput(f"{archive}: cannot be unpacked{where} ({why}); it is damaged, get it again") from error
