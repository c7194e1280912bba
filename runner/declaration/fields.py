"""The fields of a study: plain, typed, frozen values.

A :class:`Declaration` knows no arm, cell kind or detector family by name; `goodshot.runner.study.study` checks it
against the registries.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator

from goodshot.components.config import Config, Name
from goodshot.components.data.planted_set import PlantedConfig
from goodshot.components.data.support import Shots
from goodshot.components.detectors.config import DetectorConfig
from goodshot.components.encoders import Precision
from goodshot.components.generator.config import Detail, GeneratorConfig, Variance, VariationConfig
from goodshot.components.generator.vqgan_clip_config import VQGANClipConfig
from goodshot.components.integrator import Select
from goodshot.components.prompts import PromptConfig
from goodshot.components.prompts.ranking import PromptKind
from goodshot.runner.data.config import DatasetConfig
from goodshot.runner.declaration.points import Point
from goodshot.runner.declaration.resources import Count, Resources
from goodshot.runner.declaration.search import SearchConfig
from goodshot.runner.declaration.several import AtLeastOne, Several
from goodshot.runner.declaration.synthesis import SynthesisConfig

Policy = Literal["mild", "strong", "autoaugment", "randaugment"]
PostAugment = Literal["none", "mild", "strong", "autoaugment", "randaugment"]
STRENGTH: tuple[PostAugment, ...] = get_args(PostAugment)
"""The policies, from the weakest to the strongest."""

Seed = Annotated[int, Field(ge=0, lt=2**32)]
Weight = Annotated[float, Field(ge=0)]


class Declaration(Config):
    """A set of cells: the product of all fields that take several values.

    Such a field also takes a single value. ``vq_weight`` × ``copies`` × ``iterations`` are the
    points of a sweep; a study with one point bypasses Ray Tune.
    """

    added_since_searches = ("cells", "synthesis")

    name: Name
    title: str = ""
    dataset: DatasetConfig = DatasetConfig()
    categories: Several[str] = Field(default=(), description="empty: every category in the dataset's root")
    objects: dict[str, str] = Field(default={}, description="category → object name, where the dataset's is wrong")
    dev: Several[str] = Field(default=("bottle", "pill", "hazelnut_toy"), description="categories tagged dev in tables")

    shots: Count | Literal["full"] = 1
    support_seeds: AtLeastOne[Seed] = (0, 1, 2)
    support: dict[str, AtLeastOne[str]] = Field(
        default={}, description="category → image ids: its originals, instead of drawing `shots` by seed"
    )
    seed: Seed | None = Field(default=None, description="training and sampling; default: the support's seed")
    arms: AtLeastOne[str] = ("original", "augmented", "generated")

    cells: AtLeastOne[str] = Field(default=("detection",), description="what is measured for each support and arm")

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
        default=None, description="sets the fields that the study does not give: see runner/study/presets.py"
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
    objective: str = "similarity"
    planted: PlantedConfig = PlantedConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    oracle: bool = Field(default=False, description="allow a test metric as objective; marks every row of the study")
    search: SearchConfig = SearchConfig()
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
            raise ValueError(f"detectors: two are called {max(labels, key=labels.count)}; give one an alias")
        return self

    @model_validator(mode="after")
    def _a_caption_has_a_text(self) -> Self:
        if "caption" in self.prompt_kind and self.prompt.caption is None:
            raise ValueError("prompt_kind: caption is a text of the study's own; give it in prompt.caption")
        return self

    @model_validator(mode="after")
    def _variance_is_declared_above(self) -> Self:
        if self.generator.variance != "estimated":
            raise ValueError("generator.variance: set the study's own field variance instead")
        for variance in self.variance:
            GeneratorConfig.model_validate({**self.generator.model_dump(), "variance": variance})
        return self

    def at(self, values: Mapping[str, Any]) -> Self:
        """The study at one point of its search: ``values`` maps fields, dotted where nested, to their values.

        Raises:
            pydantic.ValidationError: a value is not allowed.
        """
        fields = self.model_dump(mode="json", exclude={"search"})
        for path, value in values.items():
            assign(fields, path, value)
        return type(self).model_validate(fields)

    @property
    def points(self) -> tuple[Point, ...]:
        """The hyperparameter points, in declared order."""
        return tuple(Point(*values) for values in itertools.product(self.vq_weight, self.copies, self.iterations))

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
        """How the category's originals are chosen: a list of ids, all, or a number drawn by seed."""
        return self.support.get(category, self.shots)

    def seeds(self, category: str) -> tuple[tuple[int | None, int], ...]:
        """(support_seed, seed) pairs; a ``full`` or listed support has support_seed None and varies by ``seed``."""
        if not isinstance(self.shots_of(category), int):
            return tuple((None, seed) for seed in self.support_seeds)
        return tuple((s, s if self.seed is None else self.seed) for s in self.support_seeds)


def assign(fields: dict[str, Any], path: str, value: Any) -> None:
    """Set a field by its dotted path; a number is an index into a list (``detectors.0.image_size``)."""
    *parents, last = path.split(".")
    target: Any = fields
    for part in parents:
        target = target[int(part)] if isinstance(target, list) else target.setdefault(part, {})
    if isinstance(target, list):
        target[int(last)] = value
    else:
        target[last] = value
