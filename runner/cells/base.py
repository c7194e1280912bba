"""The interface of a cell: one measurement of one support and one variant of an arm, stored as one row of results.

A :class:`CellKind` is one object in one file, listed in :data:`goodshot.runner.cells.CELL_KINDS`. It defines what is
measured for each support and variant of a study, what identifies a measurement, and which columns its rows have. The
:class:`CellStage` that it plans runs the measurement.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from goodshot.components.data.layout import Finding
from goodshot.components.metrics.detection import MetricValue
from goodshot.runner.arms import AddedImages, Arm, Generation, Planner, Product, SeededSupport, Variant
from goodshot.runner.data.catalogue import Category
from goodshot.runner.declaration.fields import Declaration
from goodshot.runner.stages.base import Context, Stage, Support, Takes
from goodshot.runner.stages.need import Need
from goodshot.runner.store.artifacts import Store
from goodshot.runner.store.fingerprint import Canonical, canonical, fingerprint

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a study, which becomes one row of results.

    subject: the object that the kind measures with, for example a detector's configuration; None if it needs none.
    """

    kind: CellKind
    category: str
    support_seed: int | None
    seed: int
    variant: Variant
    subject: Any = None

    @property
    def arm(self) -> Arm:
        """The arm whose images are measured."""
        return self.variant.arm

    @property
    def copies(self) -> int:
        """The number of images that the cell's arm adds."""
        return self.variant.copies

    @property
    def generation(self) -> Generation | None:
        """How the generated images are made and chosen; None for an arm without a generator."""
        return self.variant.generation

    @property
    def label(self) -> str:
        """Text for messages: category, seed, arm with its point, and subject."""
        subject = self.kind.label(self.subject)
        return " ".join(filter(None, [self.category, f"seed={self.seed}", self.variant.label, subject]))


@dataclass(frozen=True)
class Measured:
    """The result of running a cell.

    columns: values of the row's columns that depend on running the cell.
    scores: rows of ``scores/``, without the fingerprint.
    metrics: rows of ``metrics/``, without the fingerprint.
    """

    columns: Mapping[str, Any]
    scores: Sequence[Mapping[str, Any]] = ()
    metrics: Sequence[MetricValue] = ()


@dataclass(frozen=True, kw_only=True)
class CellStage(Stage):
    """A planned cell. It commits no artifact of its own; the executor appends its measurement to the results.

    support: the originals.
    added: the planned images that the arm adds.
    declared: the columns that all rows of the study with this category and arm have in common.
    keeps_pictures: whether it also commits pictures for the report to the store.
    """

    takes: ClassVar[Takes] = "detector"

    cell: Cell
    study: str
    support: Support
    added: AddedImages
    declared: Mapping[str, Any] = field(repr=False)
    keeps_pictures: bool = False

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its row, 64 hex digits."""
        return self.key.rpartition("/")[2]

    def label(self, wanted: Sequence[Stage]) -> str:
        """The cell's kind, category, seed, arm with its point, and subject."""
        return f"{self.kind} {self.cell.label}"

    @property
    def images(self) -> tuple[str, ...]:
        """Ids of the stages that make the cell's images: the support's shard, and those that the added images need."""
        return (self.support.shard, *self.added.inputs)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Ids of the stages that have to run before the cell; by default those that make its images."""
        return self.images

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of its row that do not depend on running it, without those of other arms and kinds."""
        cell = self.cell
        columns = {
            **self.declared,
            "cell": cell.kind.name,
            "category": cell.category,
            "support_seed": cell.support_seed,
            "seed": cell.seed,
            "support_ids": list(self.support.ids),
            "arm": cell.arm.label,
            "copies": cell.copies,
            **cell.kind.subject_columns(cell.subject),
            **cell.arm.varied(cell.variant),
        }
        columns["shots"] = columns["shots"] or str(len(self.support.ids))
        return columns

    def is_made(self, store: Store) -> bool:
        """Always False: a cell is finished when its row is in the results, not when an artifact is in the store."""
        return False

    def added_images(self, context: Context) -> tuple[Any, dict[str, Any]]:
        """The images that the arm adds, uint8 RGB (M, H, W, 3) or None, and the values of the arm's columns."""
        return self.cell.arm.images(self.cell.variant, self.added, self.support, self.cell.seed, context)

    @abstractmethod
    def run(self, context: Context, wanted: Sequence[Stage]) -> Measured:
        """Run the measurement."""


class CellKind(ABC):
    """One kind of measurement of a support and a variant. Kinds are compared and hashed by their name."""

    name: ClassVar[str]
    """The kind's name in a study's field ``cells`` and in fingerprints."""
    title: ClassVar[str]
    """The kind's name in tables."""
    columns: ClassVar[Mapping[str, pa.DataType]]
    """The columns of ``results/`` that the kind fills, in addition to the columns of every row."""
    metrics: ClassVar[tuple[str, ...]]
    """The ``columns`` that are metrics (:mod:`goodshot.components.metrics.declared`)."""
    measures: ClassVar[Product] = "normal"
    """What the measured images show: a good product, or one with a defect."""
    made_with: ClassVar[tuple[str, ...]] = ()
    """Those of the ``columns`` that name the model and the weights that it measures with."""
    tested: ClassVar[bool] = True
    """Whether the kind's cells score test images: a category without test images is then an error, and masks are
    checked at the side to which images are resized."""
    needed: ClassVar[str] = "a detector"
    """The name of the missing subject in the error message of a study without :meth:`subjects`."""
    checked: ClassVar[tuple[str, ...]] = ()
    """The columns that :meth:`problems` reads."""
    stages: ClassVar[tuple[type[Stage], ...]] = ()
    """The classes of the stages that the kind plans, those of its cells included."""

    def subjects(self, study: Declaration) -> tuple[Any, ...]:
        """The objects to measure with, such as the study's detectors; each has its own cells."""
        return (None,)

    def wants(self, variant: Variant) -> bool:
        """Whether to plan a cell for the variant. A kind that measures added images refuses an arm without images."""
        return variant.arm.makes == self.measures

    def uses(self, arm: Arm) -> bool:
        """Whether cells of this kind use images of the arm at all."""
        return arm.makes == self.measures

    def label(self, subject: Any) -> str:
        """The name of a subject in tables and messages."""
        return ""

    def subject_columns(self, subject: Any) -> dict[str, Any]:
        """The columns that describe the subject."""
        return {}

    def side(self, subject: Any, study: Declaration) -> int:
        """The side in pixels to which the subject resizes images."""
        return study.generator.resolution

    def needs(self, study: Declaration) -> Iterator[Need]:
        """The files that the kind's stages need on a machine."""
        for stage in self.stages:
            yield from stage.needs(study)

    def omits(self, study: Declaration, category: Category) -> str:
        """Return the reason why a category has no cell, the end of "<category>: has no … cell, because"; else empty."""
        return ""

    def findings(self, study: Declaration, category: Category) -> tuple[Finding, ...]:
        """Return findings about measuring a category in this study."""
        if reason := self.omits(study, category):
            problem = f"has no {self.name} cell, because {reason}"
            return (Finding("noted", Path(category.name), problem, "the study's other categories are measured"),)
        return ()

    def note(self, subject: Any, sizes: Sequence[int]) -> str:
        """A line to show with a plan, about measuring arms of these sizes with one subject; empty if there is none.

        sizes: the numbers of images of a category's arms, originals included, in ascending order.
        """
        return ""

    def problems(
        self, row: Mapping[str, Any], labels: np.ndarray, scores: np.ndarray, has_metrics: bool
    ) -> Iterator[str]:
        """Compare the ``checked`` columns of a row with its rows of ``scores/`` (``labels`` and ``scores``, (T,) each).

        Yields a message for each contradiction, which continues a sentence about the row.
        """
        return iter(())

    @abstractmethod
    def plan(
        self, planner: Planner, cell: Cell, seeded: SeededSupport, added: AddedImages, declared: Mapping[str, Any]
    ) -> CellStage:
        """Plan the stage of a cell: its key, and the values that the stage needs to run."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CellKind) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


def pictures_key(fingerprint: str) -> str:
    """The key of the pictures that the cell of this fingerprint keeps for the report."""
    return f"maps/{fingerprint}"


def named_apart(stage: CellStage) -> CellStage:
    """The cell under another key, to which its category's name belongs.

    A plan uses it where another category has the same content, so that each of them has a row.
    """
    name = canonical({"category": stage.cell.category}, "category")
    return replace(stage, key=cell_key(stage.kind, stage.version, name, {"cell": stage.fingerprint}))


def train_identity(planner: Planner, support: Support) -> Canonical:
    """The content of the originals in canonical form, for fingerprints."""
    return canonical(support.content, "train")


def cell_key(kind: str, version: int, identity: Canonical, inputs: Mapping[str, Any]) -> str:
    """The key of a cell in the plan: ``cell/`` and its fingerprint."""
    return f"cell/{fingerprint(kind, version, identity, inputs)}"
