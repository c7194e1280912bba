"""From studies to work: every cell with its fingerprint, and the stages that it needs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from components.data.support import select_support
from components.encoders import check_encoder
from components.errors import BadInput
from components.generator.augment import POLICIES
from runner.arms import SeededSupport
from runner.cells import Cell
from runner.data.catalogue import Category
from runner.declaration.points import Point
from runner.declaration.search import Range, Values
from runner.plan.plan import Plan, Trial, point_label
from runner.stages.base import Stage, Support
from runner.stages.shard import ShardStage
from runner.store.fingerprint import Canonical, canonical
from runner.study.problems import first_problem
from runner.study.search import is_search, points_of, space_of
from runner.study.study import Study

S = TypeVar("S", bound=Stage)
T = TypeVar("T")


@dataclass(frozen=True)
class Declared:
    """A study with its data: its categories, and those that a predicted variance is learned from."""

    study: Study
    categories: Mapping[str, Category]
    sources: Sequence[Category] = ()


def make_plan(declared: Iterable[Declared], guided: bool = False) -> Plan:
    """Expand studies over their categories. Cells and stages that several studies share are planned once.

    Args:
        guided: plan a draw of points for searches that choose theirs as they go; without, these have none yet.
    """
    plan = Plan()
    for each in declared:
        study = each.study
        _check(study, each.categories)
        plan.cells_of[study.name], plan.trials_of[study.name] = [], []
        if is_search(study):
            for values in points_of(study) if guided or not study.search.is_guided else ():
                plan.merge(plan_point(each, values))
        else:
            _plan_grid(each, plan)
    return plan


def plan_point(declared: Declared, values: Values) -> Plan:
    """One point of a search: its trial, cells and stages. Raises :class:`BadInput` if the study cannot have it."""
    study = declared.study
    try:
        at_point = study.at(values)
    except ValidationError as error:
        raise BadInput(f"study {study.name} at {point_label(values)}: {first_problem(Study, error)}") from None
    plan = Plan()
    cells = StudyPlanner(at_point, plan, declared, _samples(study)).add_all()
    plan.cells_of[study.name] = list(dict.fromkeys(cells.values()))
    judged = cells_by_point(cells, at_point.points)
    plan.trials_of[study.name] = [Trial(values, {point.iterations: own for point, own in judged.items()})]
    return plan


def _plan_grid(declared: Declared, plan: Plan) -> None:
    """All cells at once: of thousands, a training is looked up and not planned again."""
    study = declared.study
    cells = StudyPlanner(study, plan, declared).add_all()
    plan.cells_of[study.name] = list(cells.values())
    judged = cells_by_point(cells, study.points)
    for point in study.points:
        plan.trials_of[study.name].append(Trial(asdict(point), {point.iterations: judged[point]}))


def cells_by_point(cells: Mapping[Cell, str], points: Iterable[Point]) -> dict[Point, tuple[str, ...]]:
    """The fingerprints of each point's own cells and of the baselines that they meet, in declared order."""
    by_copies: defaultdict[int, list[Point]] = defaultdict(list)
    found: dict[Point, list[str]] = {}
    for point in points:
        found[point] = []
        by_copies[point.copies].append(point)
    for cell, fingerprint_ in cells.items():
        if cell.generation is not None:
            points_of_cell: Iterable[Point] = (cell.generation.point,)
        else:
            points_of_cell = by_copies[cell.copies] if cell.arm.point_fields else found
        for point in points_of_cell:
            found[point].append(fingerprint_)
    return {point: tuple(own) for point, own in found.items()}


def _samples(study: Study) -> int:
    """Points that share a training may ask for more copies than the first did: all are sampled from the start."""
    space = space_of(study)
    shared = study.search.is_guided and not isinstance(space["vq_weight"], Range)
    copies = space["copies"]
    return int(copies.high if isinstance(copies, Range) else max(copies)) if shared else 0


class StudyPlanner:
    """Adds one study's cells to a plan: the :class:`runner.arms.Planner` of its arms and cell kinds.

    A study has thousands of cells on a few supports, trainings and detectors: what those have in common is looked up,
    and written down for fingerprints, once.
    """

    def __init__(self, study: Study, plan: Plan, declared: Declared, samples: int = 0) -> None:
        self.study, self.plan, self.samples = study, plan, samples
        self.categories, self.sources = declared.categories, declared.sources
        self._made: dict[tuple[Any, ...], Any] = {}

    def add_all(self) -> dict[Cell, str]:
        """All cells of the study, with their fingerprints."""
        return {cell: self._add(cell) for cell in self.study.expanded(tuple(self.categories))}

    def add(self, stage: S) -> S:
        """The plan's one stage of this id."""
        known = self.plan.stages.get(stage.id)
        if isinstance(known, type(stage)):
            return known
        for id_ in stage.inputs:
            if id_ not in self.plan.stages:
                self._add_shard(id_)
        self.plan.stages[stage.id] = stage
        return stage

    def once(self, make: Callable[..., T], *arguments: Any) -> T:
        """What ``make(planner, *arguments)`` returns, called once for these arguments."""
        key = (make, *arguments)
        if key not in self._made:
            self._made[key] = make(self, *arguments)
        made: T = self._made[key]
        return made

    def policy(self, name: str) -> Canonical:
        """An augmentation policy in canonical form."""
        return self.once(_policy, name)

    def _add(self, cell: Cell) -> str:
        seeded = self.once(_seeded, cell.category, cell.support_seed, cell.seed)
        added = self.once(_added, cell.variant, seeded, cell.kind.side(cell.subject, self.study))
        declared = self.once(_declared_columns, cell.category, cell.arm)
        stage = cell.kind.plan(self, cell, seeded, added, declared)
        return self.plan.cells.setdefault(stage.fingerprint, stage).fingerprint

    def _add_shard(self, key: str) -> None:
        """The shard of a category of the study, or of one that a variance is learned from."""
        for category in (*self.categories.values(), *self.sources):
            if category.shard == key:
                self.plan.stages[key] = ShardStage.of(category)
                return
        raise KeyError(f"{key}: is the input of a stage, and nothing has planned it")


def _seeded(planner: StudyPlanner, name: str, support_seed: int | None, seed: int) -> SeededSupport:
    category = planner.categories[name]
    ids = select_support(category.train_ids, planner.study.shots_of(name), support_seed or 0)
    planner.plan.stages.setdefault(category.shard, ShardStage.of(category))
    return SeededSupport(category, Support(category.shard, ids, tuple(category.content(ids))), support_seed, seed)


def _added(planner: StudyPlanner, variant: Any, seeded: SeededSupport, side: int) -> Any:
    return variant.arm.plan(planner, variant, seeded, side)


def _policy(planner: StudyPlanner, name: str) -> Canonical:
    return canonical(POLICIES[name].stated(), name)


def _declared_columns(planner: StudyPlanner, name: str, arm: Any) -> dict[str, Any]:
    """The columns that all rows of a category and an arm have in common; those of other arms stay null."""
    study = planner.study
    return {
        "study": study.name,
        "dataset": planner.categories[name].dataset,
        "dev": name in study.dev,
        "objective": study.objective,
        "oracle": study.oracle,
        "shots": "full" if study.shots_of(name) == "full" else None,
        **arm.declared(planner, name),
    }


def _check(study: Study, categories: Mapping[str, Category]) -> None:
    """Refuse at the door what would fail in a stage: unknown or missing encoders, random weights."""
    by_category: dict[str, Mapping[str, Any]] = {
        "support": study.support,
        "objects": study.objects,
        "category_augmentation": study.category_augmentation,
    }
    for name, named in by_category.items():
        if unknown := sorted({*named} - {*categories}):
            raise BadInput(f"{name}: {unknown[0]} is no category of the study; there are: {', '.join(categories)}")
    if study.uses_text:
        check_encoder(study.encoder)
