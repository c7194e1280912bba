"""What a cell is: one measurement of one support and one variant of an arm, which is one row of results.

A :class:`CellKind` is one object in one file, listed in :data:`runner.cells.CELL_KINDS`. It says what is measured for
each support and variant of a study, what identifies it, and which columns its rows have. Its
:class:`CellStage` runs it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from components.metrics.detection import MetricValue
from runner.arms import AddedImages, Arm, Generation, Planner, SeededSupport, Variant
from runner.declaration.fields import Declaration
from runner.stages.base import Context, Stage, Support
from runner.stages.need import Need
from runner.store.artifacts import Store
from runner.store.fingerprint import Canonical, canonical, fingerprint

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Cell:
    """One row of results. ``subject`` is what the kind measures with, for example a detector's configuration."""

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
        """The number of images that the arm adds."""
        return self.variant.copies

    @property
    def generation(self) -> Generation | None:
        """How generated images are made; None of other arms."""
        return self.variant.generation

    @property
    def label(self) -> str:
        """In words: category, seed, arm with its point, and the subject."""
        subject = self.kind.label(self.subject)
        return " ".join(filter(None, [self.category, f"seed={self.seed}", self.variant.label, subject]))


@dataclass(frozen=True)
class Measured:
    """What running a cell has found.

    columns: values of the row's own columns.
    scores: rows of ``scores/``, without the fingerprint.
    metrics: rows of ``metrics/``.
    """

    columns: Mapping[str, Any]
    scores: Sequence[Mapping[str, Any]] = ()
    metrics: Sequence[MetricValue] = ()


@dataclass(frozen=True, kw_only=True)
class CellStage(Stage):
    """A planned cell. It commits no artifact: its executor appends what it measures to the results.

    declared: the columns of its row that it has in common with others.
    keeps_pictures: whether it leaves pictures in the store for the report.
    """

    takes = "detector"

    cell: Cell
    study: str
    support: Support
    added: AddedImages
    declared: Mapping[str, Any] = field(repr=False)
    keeps_pictures: bool = False

    @property
    def fingerprint(self) -> str:
        """What identifies its row."""
        return self.key.rpartition("/")[2]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The support's shard, and the stages of the images that are added."""
        return (self.support.shard, *self.added.inputs)

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of its row that do not depend on running it; those of other arms and kinds are not there."""
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
        """Never by an artifact: a row says so."""
        return False

    def added_images(self, context: Context) -> tuple[Any, dict[str, Any]]:
        """What the arm adds, uint8 (M, H, W, 3) or None, and what its row says of it."""
        return self.cell.arm.images(self.cell.variant, self.added, self.support, self.cell.seed, context)

    @abstractmethod
    def run(self, context: Context, wanted: Sequence[Stage]) -> Measured:
        """Measure it."""


class CellKind(ABC):
    """What is measured for each support and variant. Kinds are compared and hashed by their name."""

    name: ClassVar[str]
    """As a study declares it, and in fingerprints."""
    title: ClassVar[str]
    """In tables."""
    columns: ClassVar[Mapping[str, pa.DataType]]
    """The columns of ``results/`` that it fills, besides those of every row."""
    metrics: ClassVar[tuple[str, ...]]
    """Those of them that are metrics (:mod:`components.metrics.declared`)."""
    checked: ClassVar[tuple[str, ...]] = ()
    """The columns that :meth:`problems` looks at."""

    def subjects(self, study: Declaration) -> tuple[Any, ...]:
        """What it measures with, each in a cell of its own."""
        return (None,)

    def wants(self, variant: Variant) -> bool:
        """Whether a variant is measured: a kind that measures added images has nothing to do for an arm without any."""
        return True

    def label(self, subject: Any) -> str:
        """The subject in tables and messages."""
        return ""

    def subject_columns(self, subject: Any) -> dict[str, Any]:
        """The columns that say what was measured with."""
        return {}

    def side(self, subject: Any, study: Declaration) -> int:
        """The side in pixels at which it reads images."""
        return study.generator.resolution

    def needs(self, study: Declaration) -> Iterator[Need]:
        """What it needs on a machine."""
        return iter(())

    def problems(
        self, row: Mapping[str, Any], labels: np.ndarray, scores: np.ndarray, has_metrics: bool
    ) -> Iterator[str]:
        """What is wrong with a row: its columns ``checked`` against its rows of ``scores/``, (T,) each."""
        return iter(())

    @abstractmethod
    def plan(
        self, planner: Planner, cell: Cell, seeded: SeededSupport, added: AddedImages, declared: Mapping[str, Any]
    ) -> CellStage:
        """The stage of a cell."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CellKind) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


def train_identity(planner: Planner, support: Support) -> Canonical:
    """The originals' content, for fingerprints."""
    return canonical(support.content, "train")


def cell_key(kind: str, version: int, identity: Canonical, inputs: Mapping[str, Any]) -> str:
    """Where a cell is in the plan: its fingerprint below ``cell/``."""
    return f"cell/{fingerprint(kind, version, identity, inputs)}"
