"""The plan: the stages and cells of studies by their ids, and the stages that each stage depends on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from goodshot.runner.cells import CellStage
from goodshot.runner.stages.base import Stage

S = TypeVar("S", bound=Stage)


@dataclass(frozen=True, slots=True)
class Trial:
    """One point of a study: its values by field, and for each L the fingerprints of the cells that judge it."""

    values: Mapping[str, Any]
    cells: Mapping[int, tuple[str, ...]]

    @property
    def key(self) -> str:
        """The point as text for look-ups; equal points have equal keys."""
        return point_key(self.values)

    @property
    def label(self) -> str:
        """The point as readable text, for example ``vq_weight=1 copies=10 iterations=60``."""
        return point_label(self.values)


def point_key(values: Mapping[str, Any]) -> str:
    """Return a point as JSON with sorted fields, so that equal points have equal keys in any order of their fields."""
    return json.dumps(dict(values), sort_keys=True)


def point_label(values: Mapping[str, Any]) -> str:
    """Return a point as readable text, for example ``vq_weight=1 copies=10 iterations=60``."""
    shown = ((name, f"{v:.4g}" if isinstance(v, float) else str(v)) for name, v in values.items())
    return " ".join(f"{name}={text}" for name, text in shown)


@dataclass
class Plan:
    """All cells of some studies by fingerprint, and the stages that the cells share by id.

    Each stage comes after the stages that it depends on.

    cells_of, trials_of: fingerprints and trials of a study, by the study's name.
    """

    stages: dict[str, Stage] = field(default_factory=dict)
    cells: dict[str, CellStage] = field(default_factory=dict)
    cells_of: dict[str, list[str]] = field(default_factory=dict)
    trials_of: dict[str, list[Trial]] = field(default_factory=dict)

    def of(self, kind: type[S]) -> list[S]:
        """Return the stages of one class, in the order in which they were planned."""
        return [stage for stage in self.stages.values() if isinstance(stage, kind)]

    def merge(self, part: Plan) -> None:
        """Add the cells, stages and trials of another plan."""
        for id_, stage in part.stages.items():
            self.stages.setdefault(id_, stage)
        self.cells.update(part.cells)
        for study, fingerprints in part.cells_of.items():
            self.cells_of[study] = list(dict.fromkeys([*self.cells_of.get(study, []), *fingerprints]))
        for study, trials in part.trials_of.items():
            self.trials_of.setdefault(study, []).extend(trials)

    def producer(self, stage: Stage) -> Stage:
        """Return the stage that makes a stage's artifact: the stage itself, or for an image set its training."""
        return stage if stage.producer == stage.id else self.stages[stage.producer]

    def before(self, stage: Stage) -> tuple[Stage, ...]:
        """Return the stages that have to be made first: the inputs of the stage and of its producer."""
        ids = dict.fromkeys((*stage.inputs, *self.producer(stage).inputs))
        return tuple(self.stages[id_] for id_ in ids)

    def closure(self, ids: Iterable[str]) -> dict[str, Stage]:
        """Return these stages, their producers and all their dependencies, each stage after its dependencies."""
        stages: dict[str, Stage] = {}

        def visit(stage: Stage) -> None:
            if stage.id in stages:
                return
            for input_ in self.before(stage):
                visit(input_)
            producer = self.producer(stage)
            stages.setdefault(producer.id, producer)
            stages[stage.id] = stage

        for id_ in ids:
            visit(self.stages[id_])
        return stages

    def products(self, cells: Iterable[CellStage]) -> dict[str, list[Stage]]:
        """Return the artifacts that these cells need, as lists by the id of the stage that produces them."""
        products: dict[str, list[Stage]] = {}
        for stage in self.closure(dict.fromkeys(id_ for cell in cells for id_ in cell.inputs)).values():
            if stage.is_artifact:
                products.setdefault(stage.producer, []).append(stage)
        return products


def unshared_steps(plan: Plan, cells: Iterable[CellStage]) -> int:
    """Return the number of training steps if each image set trained its own generator, as in a plain sweep.

    Cells that differ only in what is trained on their images share an image set even then.
    """
    sets = dict.fromkeys(cell.images for cell in cells)
    ids = dict.fromkeys(id_ for inputs in sets for id_ in inputs)
    stages: Iterator[Stage] = (plan.stages[id_] for id_ in ids)
    by_producers = sum(plan.producer(stage).steps([stage]) for stage in stages if stage.producer != stage.id)
    # A training that is an artifact itself, such as that of a fusion and its base, counts once for all parts of a set.
    return by_producers + sum(stage.steps([stage]) for inputs in sets for stage in plan.closure(inputs).values())


def planned_steps(plan: Plan, cells: Iterable[CellStage]) -> int:
    """Return the number of training steps if all image sets of a training share its generator."""
    return sum(_steps(plan, producer, wanted) for producer, wanted in plan.products(cells).items())


def _steps(plan: Plan, producer: str, wanted: Sequence[Stage]) -> int:
    return plan.stages[producer].steps(wanted)
