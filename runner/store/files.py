"""Files below one URI, on any pyarrow filesystem; each file appears completely or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import pyarrow as pa
from pyarrow import fs

from goodshot.components.errors import BadInput, GoodshotError

T = TypeVar("T")

TEMPORARY = ".tmp-"
REQUESTS = 16
"""Concurrent requests to an object store."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OF_A_URI = ":/?#[]@!$&'()*+,;=%"
# A secret may contain a slash that should have been percent-encoded: such a URI is refused, and its secret not shown.
_CREDENTIALS = re.compile(r"""([a-zA-Z][\w+.-]*://)(?:[^/@\s:'"]*:[^\s'"]*|[^/@\s'"]+)@""")


class Files:
    """A folder given by path or URI (``file://``, ``s3://``, ``gs://``). Names are relative, with ``/``."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        try:
            self.filesystem, self.base = fs.FileSystem.from_uri(absolute(uri))
        except pa.ArrowInvalid as error:
            remedy = "percent-encode its special characters, and give credentials in the environment"
            raise BadInput(f"{self.shown}: not a folder or URI that can be read ({_line(error)}); {remedy}") from None
        except OSError as error:
            raise BadInput(f"{self.shown}: cannot be opened ({_line(error)}); check it, or add ?region=…") from None
        self.is_local = isinstance(self.filesystem, fs.LocalFileSystem)

    def __reduce__(self) -> tuple[type[Files], tuple[str]]:
        return Files, (self.uri,)

    def free_bytes(self) -> int | None:
        """The free bytes of its disk, or of the disk on which it will be made; None for an object store."""
        if not self.is_local:
            return None
        folder = Path(self.base)
        existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        return shutil.disk_usage(existing).free

    @property
    def shown(self) -> str:
        """The URI without credentials, for messages and files."""
        return public(self.uri)

    def where(self, name: str) -> str:
        """A file's URI without credentials, for messages."""
        return public(below(self.uri, name))

    def path(self, name: str) -> str:
        """The name's full path inside the filesystem."""
        return f"{self.base.rstrip('/')}/{name}"

    @contextmanager
    def reported(self, name: str) -> Iterator[None]:
        """Turn errors of the filesystem into one-line errors; only FileNotFoundError passes, for the caller to explain.

        Raises:
            GoodshotError: no space is left, the folder is read-only, or an object store does not answer.
        """
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise GoodshotError(f"{self.where(name)}: {_problem(error)}; the same command then continues") from error

    def exists(self, name: str) -> bool:
        """Whether a file of this name exists."""
        with self.reported(name):
            return bool(self.filesystem.get_file_info(self.path(name)).type == fs.FileType.File)

    def read(self, name: str) -> bytes:
        """The whole file. Raises FileNotFoundError."""
        try:
            with self.reported(name), self.filesystem.open_input_file(self.path(name)) as file:
                return bytes(file.read())
        except GoodshotError as error:
            # An object store first looks and then reads; it reports a file deleted in between as a failure.
            if self.is_local or self.exists(name):
                raise
            raise FileNotFoundError(self.where(name)) from error

    def open(self, name: str) -> pa.NativeFile:
        """A seekable file for range reads."""
        with self.reported(name):
            return self.filesystem.open_input_file(self.path(name))

    def write(self, name: str, data: bytes | pa.Buffer, is_last: bool = False) -> None:
        """Write the whole file so that no reader ever sees an incomplete one.

        An object store shows an object only when its upload is complete; on a POSIX filesystem the data goes to
        a temporary sibling that is renamed.

        Args:
            is_last: the file's sources are deleted next, so it has to be on the disk before this returns.
        """
        with self.reported(name), self._sink(name, is_last) as stream:
            stream.write(data)

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file unless it exists; returns whether it was written.

        On a POSIX filesystem, of several concurrent callers one succeeds; a reader at that instant may find the file
        empty. An object store has no such operation: two callers at the same instant may both succeed.
        """
        with self.reported(name):
            if self.is_local:
                return self._create_local(Path(self.path(name)), data)
            if self.exists(name):
                return False
            self.write(name, data)
        with suppress(FileNotFoundError):
            return self.read(name) == data
        return False

    def write_stream(self, name: str, write: Callable[[pa.NativeFile], object]) -> str:
        """Write a file in pieces, completely or not at all, and return its SHA-256. ``write`` gets the open file.

        If ``write`` raises, an object store may show the pieces for a moment before they are deleted, so the name has
        to belong to a fresh attempt that nothing refers to yet.
        """
        try:
            with self.reported(name), self._sink(name) as stream:
                hashing = _Hashing(stream)
                with pa.PythonFile(hashing, mode="w") as sink:
                    write(sink)
        except BaseException:
            if not self.is_local:
                with suppress(OSError):
                    self.filesystem.delete_file(self.path(name))
            raise
        return hashing.digest.hexdigest()

    def delete(self, name: str) -> None:
        """Delete a file, if it exists."""
        with self.reported(name), suppress(FileNotFoundError):
            self.filesystem.delete_file(self.path(name))

    def each(self, function: Callable[[str], T], names: Sequence[str]) -> list[T]:
        """The function's results for several names; concurrent for an object store, which is slow to answer."""
        if self.is_local:
            return [function(name) for name in names]
        with ThreadPoolExecutor(REQUESTS) as pool:
            return list(pool.map(function, names))

    def discard(self, folder: str) -> None:
        """Delete the folder of a failed attempt; files that cannot be deleted stay, since nothing refers to them."""
        with suppress(OSError):
            self.filesystem.delete_dir(self.path(folder))

    def names(self, folder: str, suffix: str = "", recursive: bool = False) -> list[str]:
        """Names of the files below ``folder``, sorted, without temporary ones. Empty if there is no such folder."""
        if self.is_local and not recursive:
            found = self._local_names(folder)
        else:
            selector = fs.FileSelector(self.path(folder), allow_not_found=True, recursive=recursive)
            prefix = self.base.rstrip("/") + "/"
            with self.reported(folder):
                infos = self.filesystem.get_file_info(selector)
            found = [info.path.removeprefix(prefix) for info in infos if info.type == fs.FileType.File]
        return sorted(name for name in found if name.endswith(suffix) and TEMPORARY not in name)

    def check_writable(self) -> None:
        """Raise :class:`BadInput` unless a file can be created here. Leaves only the folder behind."""
        probe = f"{TEMPORARY}{uuid.uuid4().hex}"
        try:
            if self.is_local:
                Path(self.base).mkdir(parents=True, exist_ok=True)
                Path(self.path(probe)).touch()
                Path(self.path(probe)).unlink()
                return
            self.filesystem.open_output_stream(self.path(probe)).close()
        except OSError as error:
            reason = error.strerror if self.is_local and error.strerror else _line(error)
            raise BadInput(f"{self.shown}: cannot be written ({reason}); choose another folder with --out") from None
        # A permission to write does not imply one to delete.
        with suppress(OSError):
            self.filesystem.delete_file(self.path(probe))

    def _local_names(self, folder: str) -> list[str]:
        """The names by listing the folder: Arrow would ask for each file's size, and fail for one deleted meanwhile."""
        try:
            with self.reported(folder), os.scandir(self.path(folder)) as entries:
                return [f"{folder}/{entry.name}" for entry in entries if entry.is_file()]
        except FileNotFoundError:
            return []

    @contextmanager
    def _sink(self, name: str, is_last: bool = False) -> Iterator[pa.NativeFile]:
        target = self.path(name)
        if not self.is_local:
            # Nothing to delete on failure: until the upload is complete, the previous file stays.
            with self.filesystem.open_output_stream(target) as stream:
                yield stream
            return
        written = f"{target}{TEMPORARY}{uuid.uuid4().hex}"
        try:
            with self._fresh(written) as stream:
                yield stream
            if is_last:
                _sync(written)
            self.filesystem.move(written, target)
        except BaseException:
            with suppress(OSError):
                self.filesystem.delete_file(written)
            raise

    def _create_local(self, target: Path, data: bytes) -> bool:
        try:
            file = target.open("xb")
        except FileExistsError:
            return False
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            return self._create_local(target, data)
        try:
            with file:
                file.write(data)
        except BaseException:
            with suppress(OSError):
                target.unlink()
            raise
        return True

    def _fresh(self, path: str) -> pa.NativeFile:
        """A new file on a POSIX filesystem. Its folder is created only if it is missing, which is rare."""
        with suppress(FileNotFoundError):
            return self.filesystem.open_output_stream(path)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return self.filesystem.open_output_stream(path)


class _Hashing:
    """A file object for Arrow that passes the bytes on and hashes them."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self.stream, self.digest, self.closed = stream, hashlib.sha256(), False

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.stream.write(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is buffered here."""

    def close(self) -> None:
        self.closed = True


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def absolute(uri: str) -> str:
    """A path or URI with the same meaning in every process: a path without a scheme is made absolute.

    Spaces and non-ASCII letters in a URI are percent-encoded.
    """
    return quote(uri, safe=_OF_A_URI) if "://" in uri else Path(uri).expanduser().absolute().as_uri()


def below(uri: str, name: str) -> str:
    """The path or URI of a file or folder below another one, with the other one's options (``?region=…``)."""
    place, mark, options = uri.partition("?") if "://" in uri else (uri, "", "")
    return f"{place.rstrip('/')}/{name}{mark}{options}"


def public(text: str) -> str:
    """The text with the credentials of its URIs removed (``s3://key:secret@bucket`` becomes ``s3://bucket``)."""
    return _CREDENTIALS.sub(r"\1", text)


def _problem(error: OSError) -> str:
    """The filesystem's error in words, and the remedy."""
    if error.errno in _FULL:
        return f"{os.strerror(error.errno).lower()}; make room there, or choose another place"
    if error.errno:
        return f"{os.strerror(error.errno).lower()}; check the place and its permissions"
    return f"{_line(error)}; check the address, the credentials and the connection"


def _line(error: BaseException) -> str:
    return public(str(error).splitlines()[0]) if str(error) else type(error).__name__
