"""``goodshot gc``: files of a store that nothing needs: from killed processes, or only for continuing trainings.

A committed artifact is never touched except by ``checkpoints``: image sets, prompts and rows stay complete without
training states, but a training that is to continue starts from its beginning.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pyarrow import fs

from goodshot.runner.store.artifacts import CHECKPOINT, COMMIT
from goodshot.runner.store.files import TEMPORARY, Files
from goodshot.runner.store.leases import FOLDER as LEASES

MEASURED = "measured"
"""The folder with the measurements of runs on a store."""


@dataclass(frozen=True)
class Superfluous:
    """Files that may be deleted: the reason, their names below the store, and their bytes."""

    why: str
    names: tuple[str, ...]
    size: int


def superfluous(files: Files, older_than: timedelta, checkpoints: bool = False) -> Iterator[Superfluous]:
    """Yield the files that may be deleted.

    Args:
        files: the store.
        older_than: files written more recently may belong to a running attempt, and are kept.
        checkpoints: whether to include the states of trainings.
    """
    infos = _listed(files)
    before = datetime.now(UTC) - older_than
    attempts = {name: _attempt(files, name) for name in infos if name.endswith(f"/{COMMIT}")}
    committed = {name.removesuffix(COMMIT) + attempt for name, attempt in attempts.items() if attempt}
    leftovers: dict[str, int] = {}
    states: dict[str, int] = {}
    for name, info in infos.items():
        old = info.mtime is not None and info.mtime < before
        whole = name in attempts or name.rpartition("/")[0] in committed
        if f"/{CHECKPOINT}" in f"/{name}" and checkpoints and (whole or old):
            states[name] = info.size
        elif name.startswith((f"{LEASES}/", f"{MEASURED}/")) and not (old and TEMPORARY in name):
            continue  # what runs have measured; a driver that finds a dead driver's lease takes it over itself
        elif old and (TEMPORARY in name or not whole):
            leftovers[name] = info.size
    for why, found in (("left by attempts that never finished", leftovers), ("states of trainings", states)):
        if found:
            # Commits first, so that nobody reads an incomplete artifact.
            names = sorted(found, key=lambda name: (not name.endswith(COMMIT), name))
            yield Superfluous(why, tuple(names), sum(found.values()))


def remove(files: Files, what: Superfluous) -> None:
    """Delete the files, and folders that become empty."""
    for name in what.names:
        files.delete(name)
    if isinstance(files.filesystem, fs.LocalFileSystem):
        for folder in sorted({name.rpartition("/")[0] for name in what.names}, key=len, reverse=True):
            _remove_empty(files, folder)


def _remove_empty(files: Files, folder: str) -> None:
    while folder:
        with suppress(OSError):
            Path(files.path(folder)).rmdir()
        folder = folder.rpartition("/")[0]


def _listed(files: Files) -> dict[str, fs.FileInfo]:
    selector = fs.FileSelector(files.base, allow_not_found=True, recursive=True)
    prefix = files.base.rstrip("/") + "/"
    with files.reported(""):
        infos = files.filesystem.get_file_info(selector)
    return {info.path.removeprefix(prefix): info for info in infos if info.type == fs.FileType.File}


def _attempt(files: Files, commit: str) -> str:
    """The attempt that a commit refers to; empty if the commit is damaged."""
    try:
        return str(json.loads(files.read(commit))["attempt"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
