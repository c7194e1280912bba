"""Prepare the process for environments that libraries do not support: no home folder, no user account, ASCII output.

Containers may run with a user id without an account, and batch systems without ``HOME``. Ray, torch and matplotlib need
both during their import, so this module must be used before they are imported.
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
    """Remove a temporary home, unless it has fetched weights or W&B's offline runs, which the user may need."""
    kept = ("*.safetensors", "*.pth", "*.pt", "*.bin", "offline-run-*")
    if not any(True for pattern in kept for _ in home.rglob(pattern)):
        shutil.rmtree(home, ignore_errors=True)


def prepare() -> None:
    """Set ``HOME`` and ``USER`` if they are unknown, and let output replace characters that its encoding lacks."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        if not os.environ.get("HOME"):
            os.environ["HOME"] = tempfile.mkdtemp(prefix="goodshot-home-")
            atexit.register(_remove, Path(os.environ["HOME"]))
        if not any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")):
            os.environ["USER"] = str(os.getuid())
    for stream in (sys.stdout, sys.stderr):
        # The output streams of a notebook are not files and cannot be reconfigured.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
