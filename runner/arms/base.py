"""The interface of an arm: a source of images that a detector is trained on in addition to the originals.

An :class:`Arm` is one object in one file, listed in :data:`goodshot.runner.arms.ARMS`. It defines its variants in a
study, the stages that these need, the images that they add, and how rows, tables and figures show them. Code outside
this package never compares the name of an arm.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

import pyarrow as pa

from goodshot.components.data.layout import Finding
from goodshot.components.generator.config import Detail, Variance
from goodshot.components.integrator import Select
from goodshot.components.prompts.ranking import PromptKind
from goodshot.runner.data.catalogue import Category
from goodshot.runner.declaration.fields import Declaration, PostAugment
from goodshot.runner.declaration.points import Point
from goodshot.runner.stages.base import Context, Stage, Support
from goodshot.runner.stages.need import Need

if TYPE_CHECKING:
    import numpy as np

Product = Literal["normal", "defective"]
"""What images show: a good product, or one with a defect."""
S = TypeVar("S", bound=Stage)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Generation:
    """How a generated image set is made and chosen: a grid point, and one value of each field varied within the arm."""

    point: Point
    variance: Variance
    prompt_kind: PromptKind
    select: Select
    detail: Detail
    post_augment: PostAugment


@dataclass(frozen=True, slots=True)
class Variant:
    """One configuration of an arm in a study.

    adds: how the added images are generated; their number if the arm does not use the study's generator.
    """

    arm: Arm
    adds: Generation | int = 0

    @property
    def generation(self) -> Generation | None:
        """How the images are generated; None if the arm does not use the study's generator."""
        return self.adds if isinstance(self.adds, Generation) else None

    @property
    def copies(self) -> int:
        """The number of images that the variant adds."""
        return self.adds.point.copies if isinstance(self.adds, Generation) else self.adds

    @property
    def iterations(self) -> int:
        """L, the number of iterations that the variant's images may be chosen from; 0 without a generator."""
        return self.generation.point.iterations if self.generation else 0

    @property
    def label(self) -> str:
        """The label of the arm followed by its grid point, or without a generator by its copies."""
        point = self.generation.point.label() if self.generation else f"copies={self.copies}"
        return f"{self.arm.label} {point}"


@dataclass(frozen=True, slots=True)
class SeededSupport:
    """One support of a category, with the seed that drew it and the seed of its cells.

    support_seed: None if the originals are all images or a given list.
    seed: the seed of training and sampling.
    """

    category: Category = field(compare=False)
    support: Support
    support_seed: int | None
    seed: int


@dataclass(frozen=True, slots=True)
class AddedImages:
    """The plan of the images that a variant adds to one support. The default adds none.

    identity: the values that identify the images in the fingerprint of a detection.
    inputs: ids of the stages that the images need.
    image_set, prompt: keys of the image set and of its prompt ranking in the store; None without one.
    policy: the augmentation policy that is applied to the images; ``none`` for no augmentation.
    side: the side in pixels of images that are made in the cell and not by a stage; 0 otherwise.
    parts: keys of the parts of a defect set, in order; empty without one.
    """

    identity: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    image_set: str | None = None
    prompt: str | None = None
    policy: str = "none"
    side: int = 0
    parts: tuple[str, ...] = ()


class Planner(Protocol):
    """The planner of one study, with the methods that arms and cell kinds may use."""

    @property
    def study(self) -> Declaration:
        """The study that is planned."""

    @property
    def categories(self) -> Mapping[str, Category]:
        """The categories of the study by name."""

    @property
    def sources(self) -> Sequence[Category]:
        """The categories that a predicted variance is learned from."""

    @property
    def samples(self) -> int:
        """Minimum number of samples of each scored iteration, because a search may request more copies later."""

    def add(self, stage: S) -> S:
        """Add a stage, unless the plan has one with its id. Returns the stage that is in the plan."""

    def once(self, make: Callable[..., T], *arguments: Any) -> T:
        """The result of ``make(planner, *arguments)``, which is called only once for equal arguments."""

    def policy(self, name: str) -> Any:
        """The augmentation policy with this name in canonical form, for fingerprints."""


class Arm(ABC):
    """One source of added images. Arms are compared and hashed by their name."""

    label: str
    """The arm's name in rows and tables."""
    name: str
    """The arm's name in a study's field ``arms``."""
    colour: ClassVar[str]
    """The arm's colour in figures, from the Okabe-Ito palette, which is distinguishable with any colour vision."""
    makes: ClassVar[Product] = "normal"
    """What the arm's images show. A detector that learns what is normal must never see defective images."""
    is_baseline: ClassVar[bool] = False
    """Whether tables compare other arms with this one."""
    paired_by: ClassVar[tuple[str, ...]] = ()
    """For a baseline: the columns that must be equal in its row and in the row that is compared with it."""
    has_text: ClassVar[bool] = False
    """Whether the arm's images depend on a prompt."""
    has_trace: ClassVar[bool] = False
    """Whether the similarity trace of a training explains the choice of the arm's images."""
    point_fields: ClassVar[tuple[str, ...]] = ()
    """The fields of a grid point by which the arm's rows differ."""
    column_defaults: ClassVar[Mapping[str, Any]] = {}
    """The other columns by which the arm's variants differ, each with its default, which labels omit."""
    searched: ClassVar[frozenset[str]] = frozenset({"copies", "detectors"})
    """The fields of a study on which the arm's rows depend, so that the arm can judge a search over these fields."""
    in_words: ClassVar[str] = ""
    """For a baseline: its name in sentences, such as ``plain augmentation``."""
    images_are: ClassVar[str] = "added"
    """The adjective for the arm's images in captions, such as ``generated`` or ``supplied``."""
    columns: ClassVar[Mapping[str, pa.DataType]] = {}
    """The columns of ``results/`` that the arm fills, in addition to the columns of every row."""
    made_with: ClassVar[tuple[str, ...]] = ()
    """Those of the ``columns`` that name the weights and the data that its images were made with."""
    stages: ClassVar[tuple[type[Stage], ...]] = ()
    """The classes of the stages that the arm plans."""

    def findings(self, study: Declaration, category: Category) -> tuple[Finding, ...]:
        """Return findings about the arm's own files, such as captions. Raises :class:`BadInput` for unusable ones."""
        return ()

    @abstractmethod
    def variants(self, study: Declaration) -> Iterator[Variant]:
        """The arm's configurations in a study; each is measured on every support."""

    def plan(self, planner: Planner, variant: Variant, seeded: SeededSupport, side: int) -> AddedImages:
        """Plan the added images of a variant and add their stages to the plan.

        side: the side in pixels to which the detector, or other reader of the images, resizes them.
        """
        return AddedImages()

    def images(
        self, variant: Variant, added: AddedImages, support: Support, seed: int, context: Context
    ) -> tuple[np.ndarray | None, dict[str, Any]]:
        """Make or read the added images. Runs inside a cell.

        Returns the images, uint8 RGB (M, H, W, 3), or None if the arm adds none; and the values of those of its columns
        that are only known then.
        """
        return None, {}

    def declared(self, planner: Planner, category: str) -> dict[str, Any]:
        """The columns that are equal in all of the arm's rows of a category."""
        return {}

    def varied(self, variant: Variant) -> dict[str, Any]:
        """The columns by which the arm's variants differ, without ``copies``."""
        return {}

    def needs(self, study: Declaration) -> Iterator[Need]:
        """The files that the arm's stages need on a machine."""
        for stage in self.stages:
            yield from stage.needs(study)

    def sources(self, study: Declaration) -> bool:
        """Whether the arm uses a variance that is predicted from other categories, which then have to be read."""
        return False

    def caption(self, row: Mapping[str, Any]) -> str:
        """A description of the added images of a row, for the caption of a figure that shows some of them."""
        return f"{self.images_are} images"

    def matches(self, text: str) -> Arm | None:
        """This arm, with its argument if it has one, if ``text`` in a study's ``arms`` names it; otherwise None.

        Raises:
            ValueError: the argument in ``text`` is wrong.
        """
        return self if text == self.name else None

    def matches_label(self, label: str) -> Arm | None:
        """This arm if ``label`` is its label in rows; otherwise None."""
        return self if label == self.label else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Arm) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)
