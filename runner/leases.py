"""Who works on what, among drivers that share a store: a lease is a small file that its holder keeps renewing.

A lease saves work, it guards nothing: artifacts and rows are whole and equal whoever writes them, and rows are
deduplicated when read. On a POSIX file system taking one is exclusive, so a stage runs once in total; on an object
store, which has no exclusive create, two drivers that ask in the same instant may both get it.

A holder that died leaves its lease behind. It counts as free once it has not been renewed for `STALE_SECONDS` of the
waiting driver's own clock (clocks of machines are never compared), or at once where its process ran on this machine and
is gone.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pyarrow import fs

from components.errors import GoodshotError
from runner.files import Files

BEAT_SECONDS = 5.0
STALE_SECONDS = 30.0
FOLDER = "leases"


@dataclass(eq=False)
class Leases:
    """The leases of one driver below one URI.

    owner: who holds them; a fresh name for each driver.
    """

    uri: str
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    stale_seconds: float = STALE_SECONDS

    def __post_init__(self) -> None:
        self._files = Files(self.uri)
        pid = os.getpid()
        self._me = {"owner": self.owner, "host": socket.gethostname(), "pid": pid, "started": _started(pid)}
        self._held: dict[str, int] = {}
        # They are renewed in a thread: one that is given back meanwhile must not be written again.
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[bytes, float]] = {}

    @property
    def held(self) -> tuple[str, ...]:
        """The keys that this driver works on."""
        return tuple(self._held)

    def take(self, key: str) -> bool:
        """Whether the lease is this driver's now: it was free, or its holder is dead."""
        if key in self._held:
            return True
        name = _name(key)
        found = self._read(name)
        if found is not None and not self._is_dead(key, found):
            return False
        self._seen.pop(key, None)
        content = self._content(key, 0)
        taken = self._files.create(name, content) if found is None else self._take_over(name, found, content)
        if taken:
            self._held[key] = 0
        return taken

    def release(self, key: str) -> None:
        """Give a lease back, if it is still this driver's."""
        with self._lock:
            if self._held.pop(key, None) is not None:
                # What cannot be deleted is free for others once it is not renewed any more.
                with suppress(OSError, GoodshotError):
                    if self._is_mine(_name(key)):
                        self._files.delete(_name(key))

    def renew(self) -> set[str]:
        """Renew every lease; returns the keys that were lost: another driver took them for dead, or they are gone."""
        lost = set()
        for key in self.held:
            # A place that cannot be reached for a moment is no reason to stop; others wait longer than that.
            with self._lock, suppress(OSError, GoodshotError):
                if key in self._held and not self._renew(key):
                    lost.add(key)
                    del self._held[key]
        return lost

    def _renew(self, key: str) -> bool:
        if not self._is_mine(_name(key)):
            return False
        beat = self._held[key] + 1
        self._files.write(_name(key), self._content(key, beat))
        self._held[key] = beat
        return True

    def _is_mine(self, name: str) -> bool:
        found = self._read(name)
        return found is not None and _field(found, "owner") == self.owner

    def close(self) -> None:
        """Give all leases back."""
        for key in self.held:
            self.release(key)

    def _content(self, key: str, beat: int) -> bytes:
        return json.dumps({"key": key, **self._me, "beat": beat}).encode()

    def _is_dead(self, key: str, found: bytes) -> bool:
        if _field(found, "host") == socket.gethostname():
            pid = _field(found, "pid")
            if isinstance(pid, int) and _started(pid) != _field(found, "started"):
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

    def _take_over(self, name: str, found: bytes, content: bytes) -> bool:
        """Replace a dead holder's lease; of several drivers that see it dead, one does."""
        if not isinstance(self._files.filesystem, fs.LocalFileSystem):
            return self._files.create(name, content)
        try:
            with Path(self._files.path(name)).open("r+b") as old:
                # Who has the lock replaces it; who waited for that finds another one in its place. The lock ends with
                # its process. Where a file system has none, the one who comes too early learns it when it renews.
                with suppress(OSError):
                    fcntl.flock(old, fcntl.LOCK_EX)
                if self._read(name) != found:
                    return False
                self._files.write(name, content)
        except FileNotFoundError:
            return False
        return True


def _name(key: str) -> str:
    return f"{FOLDER}/{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _field(content: bytes, name: str) -> object:
    try:
        value = json.loads(content)
    except ValueError:
        return None
    return value.get(name) if isinstance(value, dict) else None


def _started(pid: int) -> str:
    """When a process of this machine was started, as the kernel counts; empty if there is none of that number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "" if _is_gone(pid) else "?"
    # The name in parentheses may hold anything; start time is the 22nd field.
    return stat.rpartition(")")[2].split()[19]


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
