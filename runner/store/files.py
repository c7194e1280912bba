"""Files below one URI, on any pyarrow filesystem: a whole file appears, or none."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import pyarrow as pa
from pyarrow import fs

from components.errors import BadInput, GoodshotError

T = TypeVar("T")

TEMPORARY = ".tmp-"
REQUESTS = 16
"""To an object store at once."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OF_A_URI = ":/?#[]@!$&'()*+,;=%"
# A secret may hold a slash that should have been percent-encoded: the URI is refused, and not shown either.
_CREDENTIALS = re.compile(r"""([a-zA-Z][\w+.-]*://)(?:[^/@\s:'"]*:[^\s'"]*|[^/@\s'"]+)@""")


class Files:
    """A folder given by path or URI (``file://``, ``s3://``, ``gs://``). Names are relative, with ``/``."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        try:
            self.filesystem, self.base = fs.FileSystem.from_uri(absolute(uri))
        except pa.ArrowInvalid as error:
            remedy = "percent-encode what is special in it, and give credentials in the environment"
            raise BadInput(f"{self.shown}: not a folder or URI that can be read ({_line(error)}); {remedy}") from None
        except OSError as error:
            raise BadInput(f"{self.shown}: cannot be opened ({_line(error)}); check it, or add ?region=…") from None
        self.is_local = isinstance(self.filesystem, fs.LocalFileSystem)

    def __reduce__(self) -> tuple[type[Files], tuple[str]]:
        return Files, (self.uri,)

    @property
    def shown(self) -> str:
        """The URI as people and files may see it."""
        return public(self.uri)

    def where(self, name: str) -> str:
        """A file's URI as people may see it."""
        return public(below(self.uri, name))

    def path(self, name: str) -> str:
        """The name's full path inside the filesystem."""
        return f"{self.base.rstrip('/')}/{name}"

    @contextmanager
    def reported(self, name: str) -> Iterator[None]:
        """What the filesystem refuses becomes one line; only FileNotFoundError passes, for the caller to explain.

        Raises:
            GoodshotError: no space is left, the place is read-only, or an object store does not answer.
        """
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise GoodshotError(f"{self.where(name)}: {_problem(error)}; the same command then continues") from error

    def exists(self, name: str) -> bool:
        """Whether a file of this name is there."""
        with self.reported(name):
            return bool(self.filesystem.get_file_info(self.path(name)).type == fs.FileType.File)

    def read(self, name: str) -> bytes:
        """The whole file. Raises FileNotFoundError."""
        try:
            with self.reported(name), self.filesystem.open_input_file(self.path(name)) as file:
                return bytes(file.read())
        except GoodshotError as error:
            # An object store looks first and reads then, and says of what was deleted in between that it failed.
            if self.is_local or self.exists(name):
                raise
            raise FileNotFoundError(self.where(name)) from error

    def open(self, name: str) -> pa.NativeFile:
        """A seekable file for range reads."""
        with self.reported(name):
            return self.filesystem.open_input_file(self.path(name))

    def write(self, name: str, data: bytes | pa.Buffer, is_last: bool = False) -> None:
        """Write the whole file so that no reader ever sees a part of it.

        An object store shows an object only when its upload is complete; on a POSIX filesystem the data goes to
        a temporary sibling that is renamed.

        Args:
            is_last: what it was made of is deleted next, so it has to be on the disk before.
        """
        with self.reported(name), self._sink(name, is_last) as stream:
            stream.write(data)

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file unless there is one; whether it was written.

        On a POSIX filesystem one of several who ask at once gets it; who reads it in that instant may find it empty.
        An object store has no such operation: two who ask in the same instant may both get it.
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
        """Write a file in pieces, whole or not at all, and return its SHA-256. ``write`` gets the open file.

        If ``write`` raises, an object store may show the pieces for a moment before they are deleted: names have to
        be of a fresh attempt that nothing refers to yet.
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
        """Delete a file, if it is there."""
        with self.reported(name), suppress(FileNotFoundError):
            self.filesystem.delete_file(self.path(name))

    def each(self, function: Callable[[str], T], names: Sequence[str]) -> list[T]:
        """What the function says of several names; of an object store, which takes its time to answer, many at once."""
        if self.is_local:
            return [function(name) for name in names]
        with ThreadPoolExecutor(REQUESTS) as pool:
            return list(pool.map(function, names))

    def discard(self, folder: str) -> None:
        """Delete a folder of an attempt that failed; what cannot be deleted stays, since nothing refers to it."""
        with suppress(OSError):
            self.filesystem.delete_dir(self.path(folder))

    def names(self, folder: str, suffix: str = "", recursive: bool = False) -> list[str]:
        """Names of the files below ``folder``, sorted; temporary ones are left out. Empty if there is no folder."""
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
        """Raise :class:`BadInput` unless a file can be made here. Leaves nothing behind but the folder."""
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
        # Who may write may still not be allowed to delete.
        with suppress(OSError):
            self.filesystem.delete_file(self.path(probe))

    def _local_names(self, folder: str) -> list[str]:
        """As the folder says: Arrow asks for each file's size, and leaves out one that was deleted before it did."""
        try:
            with self.reported(folder), os.scandir(self.path(folder)) as entries:
                return [f"{folder}/{entry.name}" for entry in entries if entry.is_file()]
        except FileNotFoundError:
            return []

    @contextmanager
    def _sink(self, name: str, is_last: bool = False) -> Iterator[pa.NativeFile]:
        target = self.path(name)
        if not self.is_local:
            # Nothing to delete on failure: until the upload is complete, what is there is the file of before.
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
        """A new file on a POSIX filesystem. Its folder is made only where there is none, which is seldom."""
        with suppress(FileNotFoundError):
            return self.filesystem.open_output_stream(path)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return self.filesystem.open_output_stream(path)


class _Hashing:
    """What Arrow writes to: hands the bytes on and hashes them."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self.stream, self.digest, self.closed = stream, hashlib.sha256(), False

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.stream.write(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back here."""

    def close(self) -> None:
        self.closed = True


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def absolute(uri: str) -> str:
    """A path or URI that means the same in every process: a path without its scheme is made absolute.

    Spaces and letters beyond ASCII are percent-encoded where the URI has them bare.
    """
    return quote(uri, safe=_OF_A_URI) if "://" in uri else Path(uri).expanduser().absolute().as_uri()


def below(uri: str, name: str) -> str:
    """The path or URI of a file or folder below another one, whose options (``?region=…``) it keeps."""
    place, mark, options = uri.partition("?") if "://" in uri else (uri, "", "")
    return f"{place.rstrip('/')}/{name}{mark}{options}"


def public(text: str) -> str:
    """The text without the credentials of the URIs in it (``s3://key:secret@bucket`` becomes ``s3://bucket``)."""
    return _CREDENTIALS.sub(r"\1", text)


def _problem(error: OSError) -> str:
    """What the filesystem says, and the remedy."""
    if error.errno in _FULL:
        return f"{os.strerror(error.errno).lower()}; make room there, or choose another place"
    if error.errno:
        return f"{os.strerror(error.errno).lower()}; check the place and its permissions"
    return f"{_line(error)}; check the address, the credentials and the connection"


def _line(error: BaseException) -> str:
    return public(str(error).splitlines()[0]) if str(error) else type(error).__name__
