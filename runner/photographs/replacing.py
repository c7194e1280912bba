"""A folder of images that a command replaces as a whole, and only if all that it holds was written by that command.

So the folder never holds images of two calls, and nobody's own files are deleted.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from goodshot.components.errors import BadInput

MANIFEST = "manifest.json"
"""A file in the folder with the SHA-256 of each other file in it, by which a later call recognises its own files."""


def replace_folder(target: Path, write: Callable[[Path], object]) -> None:
    """Put a new folder in the place of ``target``, whose parent exists.

    write: makes the folder of this path, which does not exist yet.

    Raises:
        BadInput: as :func:`check_replaceable`, or the folder cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
            fresh = Path(scratch) / "new"
            write(fresh)
            (fresh / MANIFEST).write_text(json.dumps(dict(_hashes(fresh)), indent=1))
            if target.exists():
                check_replaceable(target)
                target.rename(Path(scratch) / "old")
            fresh.rename(target)
    except OSError as error:
        raise BadInput(f"{target}: cannot be written ({error.strerror}); make room, or choose another --out") from error


def check_replaceable(folder: Path) -> None:
    """Raise :class:`BadInput` if the folder contains files that the command did not write, and must not delete."""
    if not folder.exists() and not folder.is_symlink():
        return
    try:
        known = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        known = {}
    written = {**known, MANIFEST: None} if known else {}
    for name, sha256 in _hashes(folder) if folder.is_dir() else [("", "")]:
        if name not in written or written[name] not in (None, sha256):
            what = f"holds {name}, which" if name else "is a file, which"
            raise BadInput(f"{folder}: {what} this command did not write; move it, or choose another --out")


def _hashes(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the path and SHA-256 of each file below a folder. A link, or an empty folder, has the hash ''."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or any(path.iterdir())):
            yield name, ""
        elif path.is_file():
            yield name, hashlib.sha256(path.read_bytes()).hexdigest()
