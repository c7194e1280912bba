"""A declared experiment: typed, frozen, written as YAML, and expanded into cells."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from components.config import Config, Name
from components.data.planted_set import PlantedConfig
from components.data.support import Shots
from components.detectors.config import DetectorConfig
from components.encoders import Precision
from components.generator.config import Detail, GeneratorConfig, Variance, VariationConfig
from components.generator.vqgan_clip_config import VQGANClipConfig
from components.integrator import Select
from components.prompts import PromptConfig
from runner.arms.arms import EXTERNAL, TEXT_ARMS, Arm, arm_label
from runner.data.config import DatasetConfig
from runner.study.presets import filled
from runner.study.search import SearchConfig, assign, problems

PromptKind = Literal["best", "only_word", "naive", "worst"]
Policy = Literal["mild", "strong", "autoaugment", "randaugment"]
PostAugment = Literal["none", "mild", "strong", "autoaugment", "randaugment"]
TestMetric = Literal["image_auroc", "pixel_auroc", "aupro"]
Objective = Literal["similarity", "planted"] | TestMetric
STRENGTH: tuple[PostAugment, ...] = get_args(PostAugment)
"""From the weakest to the strongest."""

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
GPUs = Annotated[float, Field(ge=0)] | Literal["auto"]


class Resources(Config):
    """What one stage takes of a node, and how many run at once. Never part of an identity.

    ``auto`` GPUs: none where there is none; else the share of one whose memory such a stage has been seen to need, and
    a whole one for the first of its kind.
    """

    generator_cpus: float = Field(default=1, gt=0)
    generator_gpus: GPUs = "auto"
    generators: Count | None = Field(default=None, description="trainings at once; null: as many as there is room for")
    detector_cpus: float = Field(default=1, gt=0)
    detector_gpus: GPUs = "auto"
    detections: Count | None = Field(default=None, description="detections at once; null: as many as there is room for")


@dataclass(frozen=True, slots=True)
class Point:
    """One point of the hyperparameter space: what a Ray Tune trial is. ``vq_weight`` is λ, ``iterations`` is L."""

    vq_weight: float
    copies: int
    iterations: int

    def label(self) -> str:
        """For example ``vq_weight=1.0 copies=10 iterations=60``."""
        return f"vq_weight={self.vq_weight:g} copies={self.copies} iterations={self.iterations}"


@dataclass(frozen=True, slots=True)
class Generation:
    """How a generated image set is made and chosen: a point and the fields varied within the arm.

    Of ``vqgan_clip``, the point's ``iterations`` are the study's largest L, and only ``variance`` and ``prompt_kind``
    vary.
    """

    point: Point
    variance: Variance
    prompt_kind: PromptKind
    select: Select
    detail: Detail
    post_augment: PostAugment


@dataclass(frozen=True, slots=True)
class Cell:
    """One row of results: a detector trained for one category and support on one arm.

    ``arm`` is as declared. ``copies`` is the number of images it adds (0 for ``original``); ``generation`` is None
    unless the arm stands on the study's generator.
    """

    category: str
    support_seed: int | None
    seed: int
    arm: str
    copies: int
    detector: DetectorConfig
    generation: Generation | None = None

    @property
    def label(self) -> str:
        """The arm as rows and tables call it."""
        return arm_label(self.arm)


class Study(Config):
    """A set of cells: the product of every field that takes several values.

    A field declared as several values takes a single one too. ``vq_weight`` × ``copies`` × ``iterations`` are the
    points of a sweep; a study with one point bypasses Ray Tune.
    """

    name: Name
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
    variance: AtLeastOne[Variance] = ("estimated",)
    detail: AtLeastOne[Detail] = ("none",)
    post_augment: AtLeastOne[PostAugment] = ("none",)
    augmentation: Policy = "mild"
    category_augmentation: dict[str, Policy] = Field(
        default={}, description="category → policy of its generator's views, where it differs"
    )
    preset: Literal["default", "paper"] | None = Field(
        default=None, description="what the fields are that the study does not give: see runner/presets.py"
    )

    generator: GeneratorConfig = GeneratorConfig()
    variation: VariationConfig = VariationConfig()
    variation_sources: Several[DatasetConfig] = Field(
        default=(),
        description="datasets whose categories the predicted variance is learned from; empty: the study's own; the "
        "category itself never is one of them",
    )
    prompt: PromptConfig = PromptConfig()
    vqgan_clip: VQGANClipConfig = VQGANClipConfig()
    encoder: str = "conse-lite0-minilm"
    encoder_precision: Precision = Field(default="fp32", description="mixed precision: part of the identity")
    detectors: AtLeastOne[DetectorConfig] = (DetectorConfig(),)
    objective: Objective = "similarity"
    planted: PlantedConfig = PlantedConfig()
    oracle: bool = Field(default=False, description="test labels may choose; every row of the study is marked")
    search: SearchConfig = SearchConfig()
    resources: Resources = Resources()

    @model_validator(mode="before")
    @classmethod
    def _preset_fills_in(cls, values: Any) -> Any:
        return filled(values) if isinstance(values, dict) else values

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
            raise ValueError(f"detectors: two are called {max(labels, key=labels.count)}; give one an alias")
        return self

    @model_validator(mode="after")
    def _arms_have_names_of_their_own(self) -> Self:
        labels = [arm_label(arm) for arm in self.arms]
        if len(set(labels)) != len(labels):
            raise ValueError(f"arms: two folders are called {max(labels, key=labels.count)}; rename one")
        return self

    @model_validator(mode="after")
    def _test_labels_choose_nothing_unseen(self) -> Self:
        if self.objective in get_args(TestMetric) and not self.oracle:
            raise ValueError(
                f"objective: {self.objective} looks at test labels; choose similarity or planted, or say --oracle, "
                "which marks every row of the study"
            )
        return self

    @model_validator(mode="after")
    def _variance_is_declared_above(self) -> Self:
        if self.generator.variance != "estimated":
            raise ValueError("generator.variance: set the study's own field variance instead")
        for variance in self.variance:
            GeneratorConfig.model_validate({**self.generator.model_dump(), "variance": variance})
        return self

    @model_validator(mode="after")
    def _every_point_is_possible(self) -> Self:
        for problem in problems(self):
            raise ValueError(problem)
        return self

    def at(self, values: Mapping[str, Any]) -> Study:
        """The study at one point of its search: these fields, dotted where they are nested, have these values.

        Raises:
            pydantic.ValidationError: it cannot have them.
        """
        fields = self.model_dump(mode="json", exclude={"search"})
        for path, value in values.items():
            assign(fields, path, value)
        return Study.model_validate(fields)

    @property
    def points(self) -> tuple[Point, ...]:
        """The hyperparameter points, in declared order."""
        return tuple(Point(*values) for values in itertools.product(self.vq_weight, self.copies, self.iterations))

    @property
    def uses_text(self) -> bool:
        """Whether an arm of it has prompts."""
        return bool(TEXT_ARMS & {*self.arms})

    @property
    def sources(self) -> tuple[DatasetConfig, ...]:
        """The datasets that a predicted variance is learned from; none where no arm asks for one."""
        if "predicted" not in self.variance or not self.uses_text:
            return ()
        return self.variation_sources or (self.dataset,)

    @property
    def control_policy(self) -> Policy:
        """The policy of the ``augmented`` arm: the strongest that any generated arm of this study uses."""
        used = (self.augmentation, *self.category_augmentation.values(), *self.post_augment)
        policies: tuple[Policy, ...] = tuple(policy for policy in used if policy != "none")
        return max(policies, key=STRENGTH.index)

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
        variants = list(self._arm_variants())
        for category in categories:
            for (support_seed, seed), detector in itertools.product(self.seeds(category), self.detectors):
                for arm, copies, generation in variants:
                    found[Cell(category, support_seed, seed, arm, copies, detector, generation)] = None
        return list(found)

    def _arm_variants(self) -> Iterator[tuple[str, int, Generation | None]]:
        if "original" in self.arms:
            yield "original", 0, None
        for arm in self.arms:
            if arm == "augmented" or arm.startswith(EXTERNAL):
                yield from ((arm, point.copies, None) for point in self.points)
        if "generated" in self.arms:
            options = itertools.product(
                self.points, self.variance, self.prompt_kind, self.select, self.detail, self.post_augment
            )
            yield from (("generated", o[0].copies, Generation(*o)) for o in options)
        if "vqgan_clip" in self.arms:
            last = [point for point in self.points if point.iterations == max(self.iterations)]
            # Of the generated arm's own fields the first: where that arm is in the study, its training is shared.
            for point, variance, kind in itertools.product(last, self.variance, self.prompt_kind):
                generation = Generation(point, variance, kind, self.select[0], self.detail[0], "none")
                yield "vqgan_clip", point.copies, generation
