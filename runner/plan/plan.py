"""A plan: the stages and cells of some studies by their ids, and what each stage has to wait for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from runner.cells import CellStage
from runner.stages.base import Stage

S = TypeVar("S", bound=Stage)


@dataclass(frozen=True, slots=True)
class Trial:
    """One point of a study: its values by field, and at each L the fingerprints of the cells that it is judged by."""

    values: Mapping[str, Any]
    cells: Mapping[int, tuple[str, ...]]

    @property
    def key(self) -> str:
        """The same for the same point."""
        return point_key(self.values)

    @property
    def label(self) -> str:
        """For example ``vq_weight=1 copies=10 iterations=60``."""
        return point_label(self.values)


def point_key(values: Mapping[str, Any]) -> str:
    """A point of a search as text, the same whatever the order of its fields."""
    return json.dumps(dict(values), sort_keys=True)


def point_label(values: Mapping[str, Any]) -> str:
    """A point of a search for people."""
    shown = ((name, f"{v:.4g}" if isinstance(v, float) else str(v)) for name, v in values.items())
    return " ".join(f"{name}={text}" for name, text in shown)


@dataclass
class Plan:
    """All cells of some studies, keyed by fingerprint, and the stages that they share, keyed by id.

    A stage is in the plan after the stages that it needs.
    """

    stages: dict[str, Stage] = field(default_factory=dict)
    cells: dict[str, CellStage] = field(default_factory=dict)
    cells_of: dict[str, list[str]] = field(default_factory=dict)
    trials_of: dict[str, list[Trial]] = field(default_factory=dict)

    def of(self, kind: type[S]) -> list[S]:
        """The stages of one class, in the order in which they were planned."""
        return [stage for stage in self.stages.values() if isinstance(stage, kind)]

    def merge(self, part: Plan) -> None:
        """Take in another plan's cells and stages."""
        for id_, stage in part.stages.items():
            self.stages.setdefault(id_, stage)
        self.cells.update(part.cells)
        for study, fingerprints in part.cells_of.items():
            self.cells_of[study] = list(dict.fromkeys([*self.cells_of.get(study, []), *fingerprints]))
        for study, trials in part.trials_of.items():
            self.trials_of.setdefault(study, []).extend(trials)

    def producer(self, stage: Stage) -> Stage:
        """The stage that makes a stage's artifact: itself, or the training of an image set."""
        return stage if stage.producer == stage.id else self.stages[stage.producer]

    def before(self, stage: Stage) -> tuple[Stage, ...]:
        """The stages that have to be made before it: its own inputs, and its producer's."""
        ids = dict.fromkeys((*stage.inputs, *self.producer(stage).inputs))
        return tuple(self.stages[id_] for id_ in ids)

    def closure(self, ids: Iterable[str]) -> dict[str, Stage]:
        """These stages, their producers, and all that they stand on, each after what it stands on."""
        found: dict[str, Stage] = {}

        def visit(stage: Stage) -> None:
            if stage.id in found:
                return
            for input_ in self.before(stage):
                visit(input_)
            producer = self.producer(stage)
            found.setdefault(producer.id, producer)
            found[stage.id] = stage

        for id_ in ids:
            visit(self.stages[id_])
        return found

    def products(self, cells: Iterable[CellStage]) -> dict[str, list[Stage]]:
        """Producer → the stages that it has to make for these cells; a stage without another producer makes itself."""
        found: dict[str, list[Stage]] = {}
        for stage in self.closure(dict.fromkeys(id_ for cell in cells for id_ in cell.inputs)).values():
            if stage.is_artifact:
                found.setdefault(stage.producer, []).append(stage)
        return found


def unshared_steps(plan: Plan, cells: Iterable[CellStage]) -> int:
    """Training steps if every image set trained a generator of its own from scratch, as a plain sweep does.

    Cells that differ only in what is trained on an image set share it even then.
    """
    ids = dict.fromkeys(id_ for cell in cells for id_ in cell.inputs)
    stages: Iterator[Stage] = (plan.stages[id_] for id_ in ids)
    return sum(plan.producer(stage).steps([stage]) for stage in stages if stage.producer != stage.id)


def planned_steps(plan: Plan, cells: Iterable[CellStage]) -> int:
    """Training steps with everything shared."""
    return sum(_steps(plan, producer, wanted) for producer, wanted in plan.products(cells).items())


def _steps(plan: Plan, producer: str, wanted: Sequence[Stage]) -> int:
    return plan.stages[producer].steps(wanted)
