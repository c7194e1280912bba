"""A study: typed, frozen, written as YAML, checked against the registries, and expanded into cells."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import AfterValidator, model_validator

from goodshot.components.config import OneOf
from goodshot.components.metrics.declared import metric_of, objectives
from goodshot.components.prompts.ranking import PromptKind
from goodshot.runner.arms import Arm, Variant, arm_of, arms
from goodshot.runner.cells import Cell, CellKind, cell_kind, cell_kinds
from goodshot.runner.data.config import DatasetConfig
from goodshot.runner.declaration.fields import Declaration, Policy
from goodshot.runner.declaration.points import SWEPT, Point
from goodshot.runner.declaration.resources import Resources
from goodshot.runner.declaration.several import AtLeastOne
from goodshot.runner.stages.need import Need
from goodshot.runner.study.presets import fill_study_fields
from goodshot.runner.study.search import problems

__all__ = ["Cell", "DatasetConfig", "Point", "Policy", "PromptKind", "Resources", "Study"]


def _known_arm(text: str) -> str:
    return arm_of(text).name


ArmName = Annotated[str, AfterValidator(_known_arm)]
CellName = Annotated[str, OneOf(lambda: [kind.name for kind in cell_kinds()])]
ObjectiveName = Annotated[str, OneOf(lambda: [metric.name for metric in objectives()])]


class Study(Declaration):
    """A set of cells: the product of all fields that take several values.

    Such a field also takes a single value. ``vq_weight`` × ``copies`` × ``iterations`` are the
    points of a sweep; a study with one point bypasses Ray Tune.
    """

    arms: AtLeastOne[ArmName] = ("original", "augmented", "generated")
    cells: AtLeastOne[CellName] = ("detection",)
    objective: ObjectiveName = "similarity"

    @model_validator(mode="before")
    @classmethod
    def _preset_fills_in(cls, values: Any) -> Any:
        return fill_study_fields(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _arms_have_names_of_their_own(self) -> Self:
        labels = [arm.label for arm in self.own_arms]
        if len(set(labels)) != len(labels):
            raise ValueError(f"arms: two folders are called {max(labels, key=labels.count)}; rename one")
        return self

    @model_validator(mode="after")
    def _test_labels_choose_nothing_unseen(self) -> Self:
        if metric_of(self.objective).objective == "oracle" and not self.oracle:
            fair = " or ".join(metric.name for metric in objectives() if metric.objective == "fair")
            raise ValueError(
                f"objective: {self.objective} uses test labels; choose {fair}, or give --oracle, "
                "which marks every row of the study"
            )
        return self

    @model_validator(mode="after")
    def _workers_can_share_a_training(self) -> Self:
        workers = self.resources.generator_workers
        if workers == 1:
            return self
        if self.generator.discriminator.start is not None:
            raise ValueError(
                "resources.generator_workers: with a discriminator several workers train another generator than one; "
                "leave one of them out"
            )
        shared = self.generator.originals_per_step
        if isinstance(self.shots, int) and not self.support:
            shared = min(shared, self.shots)
        if workers > shared:
            raise ValueError(
                f"resources.generator_workers: {workers} workers share a step's originals, of which there are "
                f"{shared}; use fewer workers"
            )
        return self

    @model_validator(mode="after")
    def _every_point_is_possible(self) -> Self:
        for problem in problems(self, self.judged_arm):
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _every_kind_has_cells(self) -> Self:
        variants = self.variants()
        for kind in self.own_kinds:
            if not kind.subjects(self):
                raise ValueError(f"cells: {kind.name} needs {kind.needed}; add one, or leave it out")
            if not any(map(kind.wants, variants)):
                named = ", ".join(self.arms)
                raise ValueError(
                    f"cells: {kind.name} measures nothing of the arms {named}; add an arm, or leave it out"
                )
        return self

    @model_validator(mode="after")
    def _every_arm_is_measured(self) -> Self:
        for arm in self.own_arms:
            if not any(kind.uses(arm) for kind in self.own_kinds):
                raise ValueError(
                    f"cells: {arm.name} adds images that no kind of cell of the study measures "
                    f"({', '.join(self.cells)}); add one, or leave the arm out"
                )
        return self

    @property
    def own_arms(self) -> tuple[Arm, ...]:
        """The study's arms, in declared order."""
        return tuple(map(arm_of, self.arms))

    @property
    def own_kinds(self) -> tuple[CellKind, ...]:
        """The kinds of the study's cells, in declared order."""
        return tuple(map(cell_kind, self.cells))

    @property
    def sides(self) -> tuple[int, ...]:
        """The sides in pixels to which its cells resize test images and masks; empty if they score none."""
        tested = (kind for kind in self.own_kinds if kind.tested)
        return tuple(sorted({kind.side(subject, self) for kind in tested for subject in kind.subjects(self)}))

    @property
    def judged_arm(self) -> Arm:
        """The arm whose cells decide the value of a point: the one that most of the searched fields change.

        Among equal ones the first in :data:`ARMS` is taken; baselines come last, because a search is about the arms
        that are compared with them.
        """
        space = {field.partition(".")[0] for field in self.search.space}
        swept = {field for field in SWEPT if len(getattr(self, field)) > 1}
        ordered = sorted(self.own_arms, key=lambda arm: (arm.is_baseline, _registry_index(arm)))
        return max(ordered, key=lambda arm: (len(space & arm.searched), len(swept & arm.searched)))

    @property
    def uses_text(self) -> bool:
        """Whether any arm of the study uses prompts."""
        return any(arm.has_text for arm in self.own_arms)

    @property
    def sources(self) -> tuple[DatasetConfig, ...]:
        """The datasets that a predicted variance is learned from; empty where no arm uses a predicted variance."""
        if not any(arm.sources(self) for arm in self.own_arms):
            return ()
        return self.variation_sources or (self.dataset,)

    def needs(self) -> Iterator[Need]:
        """Everything that its stages need on a machine; needs that have a substitute come last."""
        every = [need for arm in self.own_arms for need in arm.needs(self)]
        every += [need for kind in self.own_kinds for need in kind.needs(self)]
        yield from sorted(every, key=lambda need: bool(need.instead))

    def variants(self) -> tuple[Variant, ...]:
        """The variants of all arms: first those without added images, then those without text, then those with text."""

        def order(arm: Arm) -> tuple[bool, bool, int]:
            return bool(arm.point_fields), arm.has_text, _registry_index(arm) if arm.has_text else 0

        return tuple(variant for arm in sorted(self.own_arms, key=order) for variant in arm.variants(self))

    def expanded(self, categories: tuple[str, ...]) -> list[Cell]:
        """All cells over these categories, without duplicates."""
        variants = self.variants()
        found: dict[Cell, None] = {}
        for category in categories:
            for (support_seed, seed), kind in itertools.product(self.seeds(category), self.own_kinds):
                for subject, variant in itertools.product(kind.subjects(self), variants):
                    if kind.wants(variant):
                        found[Cell(kind, category, support_seed, seed, variant, subject)] = None
        return list(found)


def _registry_index(arm: Arm) -> int:
    """The index in the registry of the arm's entry."""
    return next(i for i, entry in enumerate(arms()) if entry.matches(arm.name))
