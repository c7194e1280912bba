"""Files below one URI, on any pyarrow filesystem: a whole file appears, or none."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from components.errors import BadInput

TEMPORARY = ".tmp-"


class Files:
    """A folder given by path or URI (``file://``, ``s3://``, ``gs://``). Names are relative, with ``/``."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        try:
            self.filesystem, self.base = fs.FileSystem.from_uri(absolute(uri))
        except (pa.ArrowInvalid, OSError) as error:
            raise BadInput(f"{uri}: not a folder or a URI that can be opened ({_line(error)})") from None
        self._local = isinstance(self.filesystem, fs.LocalFileSystem)

    def __reduce__(self) -> tuple[type[Files], tuple[str]]:
        return Files, (self.uri,)

    def path(self, name: str) -> str:
        """The name's full path inside the filesystem."""
        return f"{self.base.rstrip('/')}/{name}"

    def exists(self, name: str) -> bool:
        """Whether a file of this name is there."""
        return bool(self.filesystem.get_file_info(self.path(name)).type == fs.FileType.File)

    def read(self, name: str) -> bytes:
        """The whole file. Raises FileNotFoundError."""
        with self.filesystem.open_input_file(self.path(name)) as file:
            return bytes(file.read())

    def open(self, name: str) -> pa.NativeFile:
        """A seekable file for range reads."""
        return self.filesystem.open_input_file(self.path(name))

    def write(self, name: str, data: bytes) -> None:
        """Write the whole file so that no reader ever sees a part of it.

        An object store shows an object only when its upload is complete; on a POSIX filesystem the data goes to
        a temporary sibling that is renamed.
        """
        target = self.path(name)
        self._make_parent(target)
        if not self._local:
            with self.filesystem.open_output_stream(target) as stream:
                stream.write(data)
            return
        temporary = f"{target}{TEMPORARY}{uuid.uuid4().hex}"
        try:
            with self.filesystem.open_output_stream(temporary) as stream:
                stream.write(data)
            self.filesystem.move(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def write_stream(self, name: str, write: Callable[[pa.NativeFile], object]) -> str:
        """Write a file in pieces, whole or not at all, and return its SHA-256. ``write`` gets the open file.

        If ``write`` raises, an object store may show the pieces for a moment before they are deleted: names have to
        be of a fresh attempt that nothing refers to yet.
        """
        target = self.path(name)
        self._make_parent(target)
        written = f"{target}{TEMPORARY}{uuid.uuid4().hex}" if self._local else target
        try:
            with self.filesystem.open_output_stream(written) as stream:
                hashing = _Hashing(stream)
                with pa.PythonFile(hashing, mode="w") as sink:
                    write(sink)
            if self._local:
                self.filesystem.move(written, target)
        except BaseException:
            with suppress(OSError):
                self.filesystem.delete_file(written)
            raise
        return hashing.digest.hexdigest()

    def names(self, folder: str, suffix: str = "", recursive: bool = False) -> list[str]:
        """Names of the files below ``folder``, sorted; temporary ones are left out. Empty if there is no folder."""
        selector = fs.FileSelector(self.path(folder), allow_not_found=True, recursive=recursive)
        prefix = self.base.rstrip("/") + "/"
        infos = [info for info in self.filesystem.get_file_info(selector) if info.type == fs.FileType.File]
        found = [info.path.removeprefix(prefix) for info in infos]
        return sorted(name for name in found if name.endswith(suffix) and TEMPORARY not in name)

    def check_writable(self) -> None:
        """Raise :class:`BadInput` unless a file can be made here. Leaves nothing behind but the folder."""
        try:
            if not self._local:
                return
            Path(self.base).mkdir(parents=True, exist_ok=True)
            probe = Path(self.base) / f"{TEMPORARY}{uuid.uuid4().hex}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise BadInput(
                f"{self.uri}: cannot be written ({error.strerror or error}); choose another folder with --out"
            ) from None

    def _make_parent(self, path: str) -> None:
        if self._local:
            Path(path).parent.mkdir(parents=True, exist_ok=True)


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


def absolute(uri: str) -> str:
    """A path or URI that means the same in every process: a path without its scheme is made absolute."""
    return uri if "://" in uri else Path(uri).expanduser().absolute().as_uri()


def _line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
