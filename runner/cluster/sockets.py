"""A folder for sockets, whose paths the system limits to 107 characters.

Batch systems set ``TMPDIR`` to a long path, in which neither Ray nor W&B can open a socket.
"""

from __future__ import annotations

import os
import tempfile

LONGEST = 40
"""The longest path of the folder: below it Ray's sockets have up to 66 characters, and W&B's fewer."""
SHORT = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108


def socket_folder() -> str:
    """Return the system's temporary folder if its path is short enough, else a short folder that can be written."""
    usual = tempfile.gettempdir()
    if len(os.fsencode(usual)) <= LONGEST:
        return usual
    return next((folder for folder in SHORT if os.access(folder, os.W_OK | os.X_OK)), usual)


def shorten_ray_sockets() -> None:
    """Let Ray keep its session in that folder, unless ``RAY_TMPDIR`` names one. Local workers inherit this."""
    folder = socket_folder()
    if folder != tempfile.gettempdir():
        os.environ.setdefault("RAY_TMPDIR", folder)
