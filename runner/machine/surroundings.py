"""Prepare the process for surroundings that libraries do not expect: no home folder, no account, a terminal in ASCII.

Containers run under user numbers without an account, batch systems without ``HOME``. Ray, torch and matplotlib ask for
both when they are imported, so this comes first.
"""

from __future__ import annotations

import atexit
import io
import os
import pwd
import shutil
import sys
import tempfile
from pathlib import Path


def _remove(home: Path) -> None:
    """Remove a temporary home, unless somebody may want what is in it: fetched weights, or W&B's offline runs."""
    kept = ("*.safetensors", "*.pth", "*.pt", "*.bin", "offline-run-*")
    if not any(True for pattern in kept for _ in home.rglob(pattern)):
        shutil.rmtree(home, ignore_errors=True)


def prepare() -> None:
    """Set ``HOME`` and ``USER`` if this system does not tell them, and let output replace what its encoding lacks."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        if not os.environ.get("HOME"):
            os.environ["HOME"] = tempfile.mkdtemp(prefix="goodshot-home-")
            atexit.register(_remove, Path(os.environ["HOME"]))
        if not any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")):
            os.environ["USER"] = str(os.getuid())
    for stream in (sys.stdout, sys.stderr):
        # A notebook's streams are no files.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
