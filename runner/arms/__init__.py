"""The arms that there are. To add one: an object in a file of its own here, and its entry in :data:`ARMS`."""

from __future__ import annotations

from runner.arms.augmented import Augmented
from runner.arms.base import AddedImages, Arm, Generation, Planner, SeededSupport, Variant
from runner.arms.external import External
from runner.arms.generated import Generated
from runner.arms.original import Original
from runner.arms.vqgan_clip import VQGANClip

__all__ = [
    "ARMS",
    "ONCE_JUDGED",
    "AddedImages",
    "Arm",
    "Generation",
    "Planner",
    "SeededSupport",
    "Variant",
    "arm_of",
    "arm_of_row",
    "arms",
    "baselines",
]

ARMS: tuple[Arm, ...] = (Original(), Augmented(), Generated(), VQGANClip(), External())
"""In the order of help and errors; a study's point is judged by the first that its search changes and that is no
baseline."""


ONCE_JUDGED = Generated.label
"""The arm by which searches were judged whose trials name none: an earlier version knew no other."""


def arms() -> tuple[Arm, ...]:
    """The arms that there are now."""
    return ARMS


def arm_of(text: str) -> Arm:
    """The arm that a study declares by this text. Raises ValueError, naming those there are, for any other text."""
    for arm in ARMS:
        if (found := arm.matches(text)) is not None:
            return found
    *names, last = (repr(arm.name) for arm in ARMS)
    raise ValueError(f"{text!r} is no arm; there are {', '.join(names)} and {last}")


def arm_of_row(label: str) -> Arm:
    """The arm that a row calls by this label. Raises ValueError for the label of no arm."""
    for arm in ARMS:
        if (found := arm.matches_label(label)) is not None:
            return found
    raise ValueError(f"rows of arm {label!r} were made by another version of goodshot")


def baselines() -> tuple[Arm, ...]:
    """The arms that others are compared with."""
    return tuple(arm for arm in ARMS if arm.is_baseline)
