"""A declared experiment: typed, frozen, written as YAML, and expanded into cells."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from components.config import Config
from components.data.datasets import DatasetName
from components.data.support import Shots
from components.detectors.config import DetectorConfig
from components.generator.config import Detail, GeneratorConfig
from components.integrator import Select
from components.prompts import PromptConfig

Arm = Literal["original", "augmented", "generated"]
PromptKind = Literal["best", "only_word", "naive", "worst"]
Policy = Literal["mild", "strong"]
PostAugment = Literal["none", "mild", "strong"]
STRENGTH: tuple[PostAugment, ...] = ("none", "mild", "strong")

T = TypeVar("T")


def _as_list(value: Any) -> Any:
    """A field that takes several values takes a single one too."""
    return value if isinstance(value, list | tuple) else (value,)


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) != len(values):
        raise ValueError("a value stands there twice; name each once")
    return values


Several = Annotated[tuple[T, ...], BeforeValidator(_as_list), AfterValidator(_distinct)]
AtLeastOne = Annotated[Several[T], Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]


class DatasetConfig(Config):
    """Where the photographs are. ``root`` is the folder that holds the category folders, in the dataset's layout."""

    name: DatasetName = "mvtec_ad"
    root: str | None = None


class Resources(Config):
    """What one stage takes of a node. Never part of an identity."""

    generator_cpus: float = Field(default=1, gt=0)
    generator_gpus: float = Field(default=0, ge=0)
    detector_cpus: float = Field(default=1, gt=0)
    detector_gpus: float = Field(default=0, ge=0)


@dataclass(frozen=True)
class Point:
    """One point of the hyperparameter space: what a Ray Tune trial is. ``vq_weight`` is λ, ``iterations`` is L."""

    vq_weight: float
    copies: int
    iterations: int

    def label(self) -> str:
        """For example ``vq_weight=1.0 copies=10 iterations=60``."""
        return f"vq_weight={self.vq_weight:g} copies={self.copies} iterations={self.iterations}"


@dataclass(frozen=True)
class Generation:
    """How a generated image set is made and chosen: a point and the fields varied within the arm."""

    point: Point
    variance: Literal["estimated", "unit", "none"]
    prompt_kind: PromptKind
    select: Select
    detail: Detail
    post_augment: PostAugment


@dataclass(frozen=True)
class Cell:
    """One row of results: a detector trained for one category and support on one arm.

    ``copies`` is the number of images the arm adds (0 for ``original``); ``generation`` is None unless generated.
    """

    category: str
    support_seed: int | None
    seed: int
    arm: Arm
    copies: int
    detector: DetectorConfig
    generation: Generation | None = None

    def serves(self, point: Point) -> bool:
        """Whether a trial of this point needs the cell: its own generated ones, and the baselines they meet."""
        if self.generation is not None:
            return self.generation.point == point
        return self.arm == "original" or self.copies == point.copies


class Study(Config):
    """A set of cells: the product of every field that takes several values.

    A field declared as several values takes a single one too. ``vq_weight`` × ``copies`` × ``iterations`` are the
    points of a sweep; a study with one point bypasses Ray Tune.
    """

    name: Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9_.-]+$")]
    title: str = ""
    dataset: DatasetConfig = DatasetConfig()
    categories: Several[str] = Field(default=(), description="empty: every category in the dataset's root")
    objects: dict[str, str] = Field(default={}, description="category → object name, where the table's is wrong")
    dev: Several[str] = Field(default=("bottle", "pill", "hazelnut_toy"), description="rows tagged dev")

    shots: Count | Literal["full"] = 1
    support_seeds: AtLeastOne[Seed] = (0, 1, 2)
    support: dict[str, AtLeastOne[str]] = Field(
        default={}, description="category → image ids: its originals, instead of drawing `shots` by seed"
    )
    seed: Seed | None = Field(default=None, description="training and sampling; default: the support's seed")
    arms: AtLeastOne[Arm] = ("original", "augmented", "generated")

    vq_weight: AtLeastOne[Weight] = (1.0,)
    copies: AtLeastOne[Count] = (20,)
    iterations: AtLeastOne[Count] = (100,)
    score_every: Count = 10
    prompt_kind: AtLeastOne[PromptKind] = ("best",)
    select: AtLeastOne[Select] = ("text",)
    variance: AtLeastOne[Literal["estimated", "unit", "none"]] = ("estimated",)
    detail: AtLeastOne[Detail] = ("none",)
    post_augment: AtLeastOne[PostAugment] = ("none",)
    augmentation: Policy = "mild"
    category_augmentation: dict[str, Policy] = Field(
        default={}, description="category → policy of its generator's views, where it differs"
    )
    preset: Literal["default"] = "default"

    generator: GeneratorConfig = GeneratorConfig()
    prompt: PromptConfig = PromptConfig()
    encoder: str = "conse-lite0-minilm"
    detectors: AtLeastOne[DetectorConfig] = (DetectorConfig(),)
    objective: Literal["similarity"] = "similarity"
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _every_l_is_scored(self) -> Self:
        for iterations in self.iterations:
            if iterations % self.score_every:
                raise ValueError(f"score_every = {self.score_every} must divide iterations = {iterations}")
        return self

    @model_validator(mode="after")
    def _detectors_have_names_of_their_own(self) -> Self:
        labels = [detector.label for detector in self.detectors]
        if len(set(labels)) != len(labels):
            raise ValueError(f"detectors: two are called {max(labels, key=labels.count)}")
        return self

    @model_validator(mode="after")
    def _variance_is_declared_above(self) -> Self:
        if self.generator.variance != "estimated":
            raise ValueError("generator.variance: set the study's own field variance instead")
        return self

    @property
    def points(self) -> tuple[Point, ...]:
        """The hyperparameter points, in declared order."""
        return tuple(Point(*values) for values in itertools.product(self.vq_weight, self.copies, self.iterations))

    @property
    def control_policy(self) -> Policy:
        """The policy of the ``augmented`` arm: the strongest that any generated arm of this study uses."""
        used = (self.augmentation, *self.category_augmentation.values(), *self.post_augment)
        strongest = max(used, key=STRENGTH.index)
        return "strong" if strongest == "strong" else "mild"

    def augmentation_of(self, category: str) -> Policy:
        """The policy of the views that the category's generator learns from."""
        return self.category_augmentation.get(category, self.augmentation)

    def shots_of(self, category: str) -> Shots:
        """How the category's originals are chosen: listed ones, all, or so many drawn by seed."""
        return self.support.get(category, self.shots)

    def seeds(self, category: str) -> tuple[tuple[int | None, int], ...]:
        """(support_seed, seed) pairs; a ``full`` or listed support has none of its own, its rows differ by ``seed``."""
        if not isinstance(self.shots_of(category), int):
            return tuple((None, seed) for seed in self.support_seeds)
        return tuple((s, s if self.seed is None else self.seed) for s in self.support_seeds)

    def cells(self, categories: tuple[str, ...]) -> list[Cell]:
        """All cells over these categories, each once."""
        found: dict[Cell, None] = {}
        for category in categories:
            for (support_seed, seed), detector in itertools.product(self.seeds(category), self.detectors):
                for arm, copies, generation in self._arm_variants():
                    found[Cell(category, support_seed, seed, arm, copies, detector, generation)] = None
        return list(found)

    def _arm_variants(self) -> Iterator[tuple[Arm, int, Generation | None]]:
        if "original" in self.arms:
            yield "original", 0, None
        if "augmented" in self.arms:
            yield from (("augmented", point.copies, None) for point in self.points)
        if "generated" in self.arms:
            options = itertools.product(
                self.points, self.variance, self.prompt_kind, self.select, self.detail, self.post_augment
            )
            yield from (("generated", o[0].copies, Generation(*o)) for o in options)
