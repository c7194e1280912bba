"""Whether a process of this machine lives, and whether it is still the same one."""

from __future__ import annotations

import os
from pathlib import Path


def started_at(pid: int) -> str:
    """The start time of a process of this machine, in the kernel's units; empty if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "" if is_gone(pid) else "?"
    # The name in parentheses may contain anything; the start time is the 22nd field.
    return stat.rpartition(")")[2].split()[19]


def is_gone(pid: int) -> bool:
    """Whether this machine has no process with this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
