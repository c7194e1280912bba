"""The registry of arms. To add an arm, define one object in a file of its own here and list it in :data:`ARMS`."""

from __future__ import annotations

from goodshot.components.defects.pasting import CropPaste, CutPaste, Draem
from goodshot.components.weights.registry import DTD
from goodshot.runner.arms.augmented import Augmented
from goodshot.runner.arms.base import AddedImages, Arm, Generation, Planner, Product, SeededSupport, Variant
from goodshot.runner.arms.external import External
from goodshot.runner.arms.fusion import FusionArm
from goodshot.runner.arms.generated import Generated
from goodshot.runner.arms.original import Original
from goodshot.runner.arms.pasted import Pasted
from goodshot.runner.arms.real_defects import RealDefects
from goodshot.runner.arms.vqgan_clip import VQGANClip

__all__ = [
    "ARMS",
    "ONCE_JUDGED",
    "AddedImages",
    "Arm",
    "Generation",
    "Planner",
    "Product",
    "SeededSupport",
    "Variant",
    "arm_of",
    "arm_of_row",
    "arms",
    "baselines",
    "is_known_arm",
    "originals_alone",
]

ARMS: tuple[Arm, ...] = (
    Original(),
    Augmented(),
    Generated(),
    VQGANClip(),
    External(),
    RealDefects(),
    Pasted(CropPaste(), "#E69F00"),
    Pasted(CutPaste(), "#CC79A7"),
    Pasted(Draem(DTD), "#0072B2"),
    Pasted(Draem(), "#56B4E9"),
    FusionArm(),
)
"""All arms, in the order in which errors list them. If several arms of a study depend on equally many searched fields,
the first of these arms that is not a baseline judges the points. A baseline is compared only with the baselines before
it."""


ONCE_JUDGED = Generated.label
"""The arm that judged stored trials without an arm's name, which an earlier version of goodshot wrote."""


def arms() -> tuple[Arm, ...]:
    """The registered arms, read at each call because :data:`ARMS` can be extended."""
    return ARMS


def arm_of(text: str) -> Arm:
    """The arm that ``text``, an entry of a study's field ``arms``, names.

    Raises:
        ValueError: there is no such arm; the message lists all arms.
    """
    for arm in ARMS:
        if (matched := arm.matches(text)) is not None:
            return matched
    *names, last = (repr(arm.name) for arm in ARMS)
    raise ValueError(f"{text!r} is no arm; there are {', '.join(names)} and {last}")


def arm_of_row(label: str) -> Arm:
    """The arm with this label in the rows of ``results/``. Raises ValueError if there is none."""
    for arm in ARMS:
        if (matched := arm.matches_label(label)) is not None:
            return matched
    raise ValueError(f"rows of arm {label!r} were made by another version of goodshot")


def is_known_arm(label: str) -> bool:
    """Whether there is an arm with this label in the rows of ``results/``."""
    return any(arm.matches_label(label) is not None for arm in ARMS)


def baselines() -> tuple[Arm, ...]:
    """The registered arms that other arms are compared with."""
    return tuple(arm for arm in ARMS if arm.is_baseline)


def originals_alone() -> Arm:
    """The baseline of good images that adds none: a gain over it is what added images of any kind bring."""
    return next(arm for arm in baselines() if arm.makes == "normal" and not arm.point_fields)
