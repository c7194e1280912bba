"""Expand studies into a plan: every cell with its fingerprint, and the stages that the cells need."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from goodshot.components.data.support import select_support
from goodshot.components.encoders import check_encoder
from goodshot.components.errors import BadInput
from goodshot.components.generator.augment import POLICIES
from goodshot.runner.arms import SeededSupport
from goodshot.runner.cells import Cell, CellKind
from goodshot.runner.cells.base import named_apart
from goodshot.runner.data.catalogue import Category
from goodshot.runner.declaration.points import Point
from goodshot.runner.declaration.search import Range, Values
from goodshot.runner.plan.plan import Plan, Trial, point_label
from goodshot.runner.stages.base import Stage, Support
from goodshot.runner.stages.shard import ShardStage
from goodshot.runner.store.fingerprint import Canonical, canonical
from goodshot.runner.study.problems import first_problem
from goodshot.runner.study.search import is_search, points_of, space_of
from goodshot.runner.study.study import Study

S = TypeVar("S", bound=Stage)
T = TypeVar("T")


@dataclass(frozen=True)
class Declared:
    """A study with its data.

    categories: the study's categories by name.
    sources: the categories from which a predicted variance is learned.
    """

    study: Study
    categories: Mapping[str, Category]
    sources: Sequence[Category] = ()


def make_plan(declared: Iterable[Declared], guided: bool = False) -> Plan:
    """Expand studies over their categories. Cells and stages that several studies share are planned once.

    Args:
        guided: whether to plan randomly drawn points for guided searches, to estimate their cost; otherwise a guided
            search has no points yet.

    Raises:
        BadInput: a study does not fit its data, or a weight is missing.
    """
    plan = Plan()
    for study_with_data in declared:
        study = study_with_data.study
        _check(study, study_with_data.categories)
        plan.cells_of[study.name], plan.trials_of[study.name] = [], []
        if is_search(study):
            for values in points_of(study) if guided or not study.search.is_guided else ():
                plan.merge(plan_point(study_with_data, values))
        else:
            _plan_grid(study_with_data, plan)
    return plan


def plan_point(declared: Declared, values: Values) -> Plan:
    """Plan the trial, cells and stages of one point of a search. Raises :class:`BadInput` if the point is invalid."""
    study = declared.study
    try:
        at_point = study.at(values)
    except ValidationError as error:
        raise BadInput(f"study {study.name} at {point_label(values)}: {first_problem(Study, error)}") from None
    plan = Plan()
    cells = StudyPlanner(at_point, plan, declared, _samples(study)).add_all()
    plan.cells_of[study.name] = list(dict.fromkeys(cells.values()))
    by_point = cells_by_point(cells, at_point.points)
    by_iterations = {point.iterations: fingerprints for point, fingerprints in by_point.items()}
    plan.trials_of[study.name] = [Trial(values, by_iterations)]
    return plan


def _plan_grid(declared: Declared, plan: Plan) -> None:
    """Plan all points with one planner, so that the stages and identities that cells share are computed once."""
    study = declared.study
    cells = StudyPlanner(study, plan, declared).add_all()
    plan.cells_of[study.name] = list(cells.values())
    by_point = cells_by_point(cells, study.points)
    for point in study.points:
        plan.trials_of[study.name].append(Trial(asdict(point), {point.iterations: by_point[point]}))


def cells_by_point(cells: Mapping[Cell, str], points: Iterable[Point]) -> dict[Point, tuple[str, ...]]:
    """Return the fingerprints of each point's generated cells and of their baselines, in declared order."""
    by_copies: defaultdict[int, list[Point]] = defaultdict(list)
    by_point: dict[Point, list[str]] = {}
    for point in points:
        by_point[point] = []
        by_copies[point.copies].append(point)
    for cell, fingerprint_ in cells.items():
        if cell.generation is not None:
            points_of_cell: Iterable[Point] = (cell.generation.point,)
        else:
            # The number of defective images may be fixed separately; then these cells belong to every point.
            points_of_cell = by_copies.get(cell.copies, by_point) if cell.arm.point_fields else by_point
        for point in points_of_cell:
            by_point[point].append(fingerprint_)
    return {point: tuple(fingerprints) for point, fingerprints in by_point.items()}


def _samples(study: Study) -> int:
    """Return the minimum samples of each scored iteration: a guided search's maximum number of copies, otherwise 0.

    A later point that shares a training may need more copies than the first point, so the maximum number is sampled
    from the start. If ``vq_weight`` has a range, no two points share a training.
    """
    space = space_of(study)
    shared = study.search.is_guided and not isinstance(space["vq_weight"], Range)
    copies = space["copies"]
    return int(copies.high if isinstance(copies, Range) else max(copies)) if shared else 0


class StudyPlanner:
    """Adds one study's cells to a plan; it is the :class:`goodshot.runner.arms.Planner` of its arms and cell kinds.

    A study has thousands of cells with a few supports, trainings and detectors. Each of these is planned, and written
    in canonical form for fingerprints, only once (:meth:`once`).

    samples: the minimum number of samples of each scored iteration.
    """

    def __init__(self, study: Study, plan: Plan, declared: Declared, samples: int = 0) -> None:
        self.study, self.plan, self.samples = study, plan, samples
        self.categories, self.sources = declared.categories, declared.sources
        self._results: dict[tuple[Any, ...], Any] = {}

    def add_all(self) -> dict[Cell, str]:
        """Add all cells of the study to the plan and return their fingerprints.

        Raises:
            BadInput: a kind of cells has none, because it omits every category.
        """
        omitted = self._omitted()
        every = self.study.expanded(tuple(self.categories))
        return {cell: self._add(cell) for cell in every if (cell.kind, cell.category) not in omitted}

    def _omitted(self) -> set[tuple[CellKind, str]]:
        """Return the categories for which a kind has no cells."""
        found: set[tuple[CellKind, str]] = set()
        for kind in self.study.own_kinds:
            reasons = {name: kind.omits(self.study, category) for name, category in self.categories.items()}
            found |= {(kind, name) for name, reason in reasons.items() if reason}
            if reasons and all(reasons.values()):
                name, reason = next(iter(reasons.items()))
                raise BadInput(f"cells: {kind.name} has none in this study; of {name}, {reason}; leave {kind.name} out")
        return found

    def add(self, stage: S) -> S:
        """Add a stage, unless the plan has one with this id; returns the plan's stage."""
        planned = self.plan.stages.get(stage.id)
        if isinstance(planned, type(stage)):
            return planned
        for id_ in stage.inputs:
            if id_ not in self.plan.stages:
                self._add_shard(id_)
        self.plan.stages[stage.id] = stage
        return stage

    def once(self, make: Callable[..., T], *arguments: Any) -> T:
        """Return the result of ``make(planner, *arguments)``, which is called once for the same arguments."""
        key = (make, *arguments)
        if key not in self._results:
            self._results[key] = make(self, *arguments)
        result: T = self._results[key]
        return result

    def policy(self, name: str) -> Canonical:
        """Return an augmentation policy in canonical form."""
        return self.once(_policy, name)

    def _add(self, cell: Cell) -> str:
        seeded = self.once(_seeded_support, cell.category, cell.support_seed, cell.seed)
        added = self.once(_added_images, cell.variant, seeded, cell.kind.side(cell.subject, self.study))
        declared = self.once(_declared_columns, cell.category, cell.arm)
        stage = cell.kind.plan(self, cell, seeded, added, declared)
        planned = self.plan.cells.get(stage.fingerprint)
        if planned is not None and planned.cell.category != cell.category:
            stage = named_apart(stage)
        return self.plan.cells.setdefault(stage.fingerprint, stage).fingerprint

    def _add_shard(self, key: str) -> None:
        """Add the shard of a category of the study, or of a category from which a variance is learned."""
        for category in (*self.categories.values(), *self.sources):
            if category.shard == key:
                self.plan.stages[key] = ShardStage.of(category)
                return
        raise KeyError(f"{key}: a stage has this input, but no stage with this id was planned")


def _seeded_support(planner: StudyPlanner, name: str, support_seed: int | None, seed: int) -> SeededSupport:
    category = planner.categories[name]
    ids = select_support(category.train_ids, planner.study.shots_of(name), support_seed or 0)
    planner.plan.stages.setdefault(category.shard, ShardStage.of(category))
    return SeededSupport(category, Support(category.shard, ids, tuple(category.content(ids))), support_seed, seed)


def _added_images(planner: StudyPlanner, variant: Any, seeded: SeededSupport, side: int) -> Any:
    return variant.arm.plan(planner, variant, seeded, side)


def _policy(planner: StudyPlanner, name: str) -> Canonical:
    return canonical(POLICIES[name].stated(), name)


def _declared_columns(planner: StudyPlanner, name: str, arm: Any) -> dict[str, Any]:
    """Return the columns that all rows of a category and an arm have in common; the columns of other arms stay null."""
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
    """Raise :class:`BadInput` for fields of unknown categories and for an unknown or missing encoder.

    A stage would fail for the same reasons, but only during the run.
    """
    by_category: dict[str, Mapping[str, Any]] = {
        "support": study.support,
        "objects": study.objects,
        "category_augmentation": study.category_augmentation,
    }
    for field, values in by_category.items():
        if unknown := sorted({*values} - {*categories}):
            raise BadInput(f"{field}: {unknown[0]} is no category of the study; there are: {', '.join(categories)}")
    if study.uses_text:
        check_encoder(study.encoder)
