"""Leases coordinate drivers that share a store: a lease is a small file that its holder keeps renewing.

A lease avoids duplicate work; correctness does not depend on it: artifacts and rows are complete and equal whoever
writes them, and rows are deduplicated when read. On a POSIX file system acquiring a lease is exclusive, so a stage runs
once in total; on an object store, which has no exclusive create, two drivers that ask at the same instant may both get
it.

A holder that died leaves its lease file. The lease counts as free once it has not been renewed for `STALE_SECONDS` of
the waiting driver's own clock (clocks of machines are never compared), or at once if its process ran on this machine
and has ended.

Where hard links exist, a driver has one file, and its leases are links to it: it renews all of them at once, and
thousands of cells create and delete no file each (ext4 creates files ten times slower after many were
deleted). Elsewhere each lease is a separate file.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import socket
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pyarrow import fs

from goodshot.components.errors import GoodshotError
from goodshot.runner.store.files import TEMPORARY, Files
from goodshot.runner.store.processes import is_gone, started_at

BEAT_SECONDS = 5.0
STALE_SECONDS = 30.0
FOLDER = "leases"


@dataclass(eq=False)
class Leases:
    """The leases of one driver below one URI.

    owner: a fresh name for each driver.
    """

    uri: str
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    stale_seconds: float = STALE_SECONDS

    def __post_init__(self) -> None:
        self._files = Files(self.uri)
        pid = os.getpid()
        self._me = {"owner": self.owner, "host": socket.gethostname(), "pid": pid, "started": started_at(pid)}
        self._own: _OwnFile | None = None
        self._has_links = isinstance(self._files.filesystem, fs.LocalFileSystem)
        self._beat = 0
        self._held: set[str] = set()
        self._released: set[str] = set()
        """Released leases whose file is not deleted yet: as links to the own file they would be renewed with it."""
        self._is_closed = False
        # Renewal runs in a thread, and a lease that is released meanwhile must not be written again.
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[bytes, float]] = {}

    @property
    def is_local(self) -> bool:
        """Whether requests take microseconds; an object store is reached over a network."""
        return self._files.is_local

    @property
    def held(self) -> tuple[str, ...]:
        """The keys of the leases that this driver holds."""
        return tuple(self._held)

    def take(self, key: str) -> bool:
        """Acquire the lease, if it is free or its holder is dead; returns whether this driver holds it."""
        if key in self._held or self._is_closed:
            return not self._is_closed
        name = _name(key)
        # Most leases are free, so creating one is tried before any is read.
        taken = self._create(name) or (key in self._released and self._is_mine(name)) or self._take_over(key, name)
        if taken:
            self._held.add(key)
            self._released.discard(key)
        return taken

    def release(self, key: str) -> None:
        """Release a lease, if this driver still holds it."""
        with self._lock:
            if key in self._held:
                self._held.discard(key)
                self._delete(key)

    def renew(self) -> set[str]:
        """Renew every lease; returns the lost keys, which another driver took over or which were deleted."""
        lost = set()
        self._beat += 1
        with self._lock, suppress(OSError):
            if self._own is not None:
                self._own.write(self._content())
        for key in tuple(self._released):
            with self._lock:
                if key in self._released:
                    self._delete(key)
        for key in self.held:
            # A store that is unreachable for a moment is no reason to stop; other drivers wait longer than that.
            with self._lock, suppress(OSError, GoodshotError):
                if key in self._held and not self._renew(_name(key)):
                    lost.add(key)
                    self._held.discard(key)
        return lost

    def close(self) -> None:
        """Release all leases permanently."""
        self._is_closed = True
        for key in self.held:
            self.release(key)
        with self._lock:
            if self._own is not None:
                self._own.close()
                self._own = None

    def _delete(self, key: str) -> None:
        """Delete a lease of this driver; after a failure the next renewal tries again."""
        self._released.add(key)
        with suppress(OSError, GoodshotError):
            if self._is_mine(_name(key)):
                self._files.delete(_name(key))
            self._released.discard(key)

    def _renew(self, name: str) -> bool:
        if self._own is not None and self._own.is_linked(self._path(name)):
            return True
        if not self._is_mine(name):
            return False
        self._files.write(name, self._content())
        return True

    def _is_mine(self, name: str) -> bool:
        if self._own is not None and self._own.is_linked(self._path(name)):
            return True
        found = self._read(name)
        return found is not None and _field(found, "owner") == self.owner

    def _content(self) -> bytes:
        return json.dumps({**self._me, "beat": self._beat}).encode()

    def _path(self, name: str) -> Path:
        return Path(self._files.path(name))

    def _create(self, name: str) -> bool:
        """Create the lease unless it exists."""
        try:
            return self._link(self._path(name)) if self._has_links else self._files.create(name, self._content())
        except FileExistsError:
            # A network file system may report that the link exists when it has just created it.
            return self._own is not None and self._own.is_linked(self._path(name))
        except OSError:
            # Some file systems have no hard links, and someone may have deleted the own file.
            return self._files.create(name, self._content())

    def _link(self, path: Path) -> bool:
        if self._own is None:
            self._own = _OwnFile(self._path(f"{FOLDER}/{TEMPORARY}{self.owner}"), self._content())
        self._own.link(path)
        return True

    def _is_dead(self, key: str, found: bytes) -> bool:
        if _field(found, "host") == socket.gethostname():
            pid = _field(found, "pid")
            if isinstance(pid, int) and started_at(pid) != _field(found, "started"):
                return True
        before, since = self._seen.get(key, (b"", 0.0))
        if key not in self._seen or before != found:
            self._seen[key] = (found, time.monotonic())
            return False
        return time.monotonic() - since > self.stale_seconds

    def _read(self, name: str) -> bytes | None:
        try:
            return self._files.read(name)
        except FileNotFoundError:
            return None

    def _take_over(self, key: str, name: str) -> bool:
        """Replace a dead holder's lease; of several drivers that find it dead, one succeeds."""
        found = self._read(name)
        if found is None or not self._is_dead(key, found):
            return False
        self._seen.pop(key, None)
        if not isinstance(self._files.filesystem, fs.LocalFileSystem):
            content = self._content()
            self._files.write(name, content)
            return self._read(name) == content
        try:
            with self._path(name).open("r+b") as old:
                # The driver that gets the lock replaces the lease; those that waited for the lock find it replaced. The
                # lock ends with its process. Where a file system has no locks, a driver whose lease was replaced learns
                # it at its next renewal.
                with suppress(OSError):
                    fcntl.flock(old, fcntl.LOCK_EX)
                if self._read(name) != found:
                    return False
                replacement = self._path(f"{name}{TEMPORARY}{self.owner}")
                try:
                    self._link(replacement)
                    replacement.replace(self._path(name))
                except OSError:
                    self._files.write(name, self._content())
        except FileNotFoundError:
            return False
        self._clear_after(found)
        return True

    def _clear_after(self, found: bytes) -> None:
        """Delete the own file of a driver that died on this machine; ``gc`` deletes those of other machines."""
        owner, pid = _field(found, "owner"), _field(found, "pid")
        here = _field(found, "host") == socket.gethostname() and isinstance(pid, int) and is_gone(pid)
        if here and isinstance(owner, str) and re.fullmatch("[0-9a-f]{32}", owner):
            with suppress(OSError, GoodshotError):
                self._files.delete(f"{FOLDER}/{TEMPORARY}{owner}")


class _OwnFile:
    """A driver's own file, to which its leases are hard links."""

    def __init__(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        try:
            self.write(content)
            status = os.fstat(self._descriptor)
        except BaseException:
            self.close()
            raise
        self._identity = status.st_dev, status.st_ino

    def write(self, content: bytes) -> None:
        """Replace the content. A reader at that instant sees a changed content, which is all that matters."""
        os.pwrite(self._descriptor, content, 0)
        os.ftruncate(self._descriptor, len(content))
        # Otherwise another machine may not see for half a minute that this driver is alive.
        os.fsync(self._descriptor)

    def link(self, path: Path) -> None:
        """Create a link. Raises FileExistsError if the path exists."""
        os.link(self._path, path)

    def is_linked(self, path: Path) -> bool:
        """Whether the path is a link to this file."""
        try:
            status = path.stat()
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) == self._identity

    def close(self) -> None:
        """Delete the own file; remaining links keep its content."""
        os.close(self._descriptor)
        with suppress(OSError):
            self._path.unlink()


def _name(key: str) -> str:
    return f"{FOLDER}/{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _field(content: bytes, name: str) -> object:
    try:
        value = json.loads(content)
    except ValueError:
        return None
    return value.get(name) if isinstance(value, dict) else None
