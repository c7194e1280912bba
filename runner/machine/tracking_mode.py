"""Whether W&B runs are written online, offline or not at all."""

from __future__ import annotations

import os

from goodshot.components.errors import BadInput


def tracking_mode() -> str:
    """Return ``WANDB_MODE`` if it is set, else ``online`` with a key in ``WANDB_API_KEY`` and ``offline`` without one.

    Raises :class:`BadInput` for a mode other than ``online``, ``offline`` and ``disabled``, before a run starts.
    """
    mode = os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
    if mode not in ("online", "offline", "disabled"):
        raise BadInput(f"WANDB_MODE={mode}: use online, offline or disabled")
    return mode
