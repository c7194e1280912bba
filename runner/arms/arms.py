"""The names of a study's arms: where the images come from that a detector is trained on besides its originals.

``original`` none · ``augmented`` plain augmentation · ``generated`` the variance-aware generator ·
``vqgan_clip`` the same network's latent, optimised towards the text · ``external:<folder>`` images that a user
supplies, any number of such arms.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

PLAIN_ARMS = ("original", "augmented", "generated", "vqgan_clip")
TEXT_ARMS = frozenset({"generated", "vqgan_clip"})
"""Those that a prompt takes part in."""
EXTERNAL = "external:"


def known_arm(arm: str) -> str:
    """The arm itself. Raises ValueError, naming those there are, for any other name."""
    if arm in PLAIN_ARMS:
        return arm
    folder = arm.removeprefix(EXTERNAL)
    if folder == arm or not folder.strip():
        allowed = ", ".join(repr(name) for name in PLAIN_ARMS)
        raise ValueError(f"{arm!r} is no arm; there are {allowed} and '{EXTERNAL}<folder>'")
    if "://" in folder:
        raise ValueError(f"{arm}: give a folder of the machine that this command runs on")
    return arm


Arm = Annotated[str, AfterValidator(known_arm)]


def external_folder(arm: str) -> Path | None:
    """The folder of an ``external:<folder>`` arm, None for any other."""
    return Path(arm.removeprefix(EXTERNAL)).expanduser() if arm.startswith(EXTERNAL) else None


def arm_label(arm: str) -> str:
    """The arm's name in rows and tables: of a folder only its own name, never the path to it."""
    folder = external_folder(arm)
    # A name such as "." has none of its own.
    return arm if folder is None else f"{EXTERNAL}{folder.name or folder.absolute().name}"
