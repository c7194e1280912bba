"""Choose a folder for Unix sockets, whose paths the operating system limits to 107 characters.

Batch systems may set ``TMPDIR`` to a path that is too long for the sockets of Ray and W&B.
"""

from __future__ import annotations

import os
import tempfile

LONGEST = 40
"""The longest path of the folder, because Ray appends up to 66 characters for a socket, and W&B fewer."""
SHORT = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108


def socket_folder() -> str:
    """Return the system's temporary folder if its path is short enough, else a short folder that can be written."""
    usual = tempfile.gettempdir()
    if len(os.fsencode(usual)) <= LONGEST:
        return usual
    return next((folder for folder in SHORT if os.access(folder, os.W_OK | os.X_OK)), usual)


def shorten_ray_sockets() -> None:
    """Set ``RAY_TMPDIR`` to :func:`socket_folder`, unless the variable is set. Local workers inherit the variable."""
    folder = socket_folder()
    if folder != tempfile.gettempdir():
        os.environ.setdefault("RAY_TMPDIR", folder)
