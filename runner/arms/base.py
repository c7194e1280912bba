"""What an arm is: where the images come from that a detector is trained on besides its originals.

An :class:`Arm` is one object in one file, listed in :data:`runner.arms.ARMS`. It says which variants a study has of it,
which stages they need, which images they add, and how rows, tables and figures show it. Nothing outside this room asks
for an arm's name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import pyarrow as pa

from components.generator.config import Detail, Variance
from components.integrator import Select
from components.prompts.ranking import PromptKind
from runner.data.catalogue import Category
from runner.declaration.fields import Declaration, PostAugment
from runner.declaration.points import Point
from runner.stages.base import Context, Stage, Support
from runner.stages.need import Need

if TYPE_CHECKING:
    import numpy as np

S = TypeVar("S", bound=Stage)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Generation:
    """How a generated image set is made and chosen: a point and the fields varied within the arm."""

    point: Point
    variance: Variance
    prompt_kind: PromptKind
    select: Select
    detail: Detail
    post_augment: PostAugment


@dataclass(frozen=True, slots=True)
class Variant:
    """One way in which a study uses an arm. ``copies`` is the number of images it adds; ``generation`` is None unless
    the arm stands on the study's generator."""

    arm: Arm
    copies: int = 0
    generation: Generation | None = None

    @property
    def iterations(self) -> int:
        """The L of its images; 0 without generated ones."""
        return self.generation.point.iterations if self.generation else 0

    @property
    def label(self) -> str:
        """The arm with its point, or with its copies."""
        point = self.generation.point.label() if self.generation else f"copies={self.copies}"
        return f"{self.arm.label} {point}"


@dataclass(frozen=True, slots=True)
class SeededSupport:
    """One support of a category, and the seed of its cells."""

    category: Category = field(compare=False)
    support: Support
    support_seed: int | None
    seed: int


@dataclass(frozen=True, slots=True)
class AddedImages:
    """The images that a variant adds to one support, as planned.

    identity: plain values for the fingerprint of what is trained on them.
    inputs: ids of the stages that they need.
    image_set, prompt: keys in the store, where there are any.
    policy: the augmentation that is applied to them; ``none`` for none.
    side: the side in pixels at which they are made, for images that no stage keeps.
    """

    identity: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    image_set: str | None = None
    prompt: str | None = None
    policy: str = "none"
    side: int = 0


class Planner(Protocol):
    """What plans one study's cells, as an arm sees it."""

    @property
    def study(self) -> Declaration:
        """The study."""

    @property
    def categories(self) -> Mapping[str, Category]:
        """Its categories by name."""

    @property
    def sources(self) -> Sequence[Category]:
        """The categories that a predicted variance is learned from."""

    @property
    def samples(self) -> int:
        """Samples of each scored iteration at least: a search may ask for more copies later."""

    def add(self, stage: S) -> S:
        """The plan's one stage of this id."""

    def once(self, make: Callable[..., T], *arguments: Any) -> T:
        """What ``make(planner, *arguments)`` returns, called once for these arguments."""

    def policy(self, name: str) -> Any:
        """An augmentation policy in canonical form."""


class Arm(ABC):
    """Where images come from. Arms are compared and hashed by their name."""

    label: str
    """Its name in rows and tables."""
    name: str
    """Its name as a study declares it."""
    colour: ClassVar[str]
    """In figures; from the Okabe-Ito palette, which is told apart with any colour vision."""
    is_baseline: ClassVar[bool] = False
    """Whether other arms are compared with it."""
    paired_by: ClassVar[tuple[str, ...]] = ()
    """Of a baseline: the columns that it has in common with a variant that is compared with it."""
    has_text: ClassVar[bool] = False
    """Whether a prompt takes part in its images."""
    has_trace: ClassVar[bool] = False
    """Whether a training's similarity per iteration explains its images."""
    point_fields: ClassVar[tuple[str, ...]] = ()
    """The fields of a study's point that its rows differ by."""
    column_defaults: ClassVar[Mapping[str, Any]] = {}
    """The columns by which its variants differ besides the point, each with the value that labels leave out."""
    searched: ClassVar[frozenset[str]] = frozenset({"copies", "detectors"})
    """The fields of a study that change its rows, by which a search can be judged."""
    images_are: ClassVar[str] = "added"
    """What its images are called in captions: generated, supplied."""
    columns: ClassVar[Mapping[str, pa.DataType]] = {}
    """The columns of ``results/`` that it fills, besides those of every row."""

    @abstractmethod
    def variants(self, study: Declaration) -> Iterator[Variant]:
        """The ways in which a study uses it."""

    def plan(self, planner: Planner, variant: Variant, seeded: SeededSupport, side: int) -> AddedImages:
        """The stages and the identity of what it adds. ``side`` is the side at which a consumer reads images."""
        return AddedImages()

    def images(
        self, variant: Variant, added: AddedImages, support: Support, seed: int, context: Context
    ) -> tuple[np.ndarray | None, dict[str, Any]]:
        """What it adds, uint8 RGB (M, H, W, 3) or None, and the values of its columns that depend on running."""
        return None, {}

    def declared(self, planner: Planner, category: str) -> dict[str, Any]:
        """The columns that all its rows of a category have in common."""
        return {}

    def varied(self, variant: Variant) -> dict[str, Any]:
        """The columns by which its variants differ, but the number of copies."""
        return {}

    def needs(self, study: Declaration) -> Iterator[Need]:
        """What its stages need on a machine."""
        return iter(())

    def sources(self, study: Declaration) -> bool:
        """Whether a variance predicted from other categories takes part."""
        return False

    def caption(self, row: Mapping[str, Any]) -> str:
        """What the images of a row are, for the caption of a figure that shows some of them."""
        return f"{self.images_are} images"

    def matches(self, text: str) -> Arm | None:
        """The arm that a study declares by this text, if it is this one. Raises ValueError for a wrong argument."""
        return self if text == self.name else None

    def matches_label(self, label: str) -> Arm | None:
        """The arm that rows call by this label, if it is this one."""
        return self if label == self.label else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Arm) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)
