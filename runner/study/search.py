"""The points of a study's search: drawing them, and checking the search.

A grid or random search knows all its points before anything runs, so their cells share every training. A *guided*
search chooses points by earlier results: Optuna chooses the next point, ASHA chooses which points get a larger L.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
from pydantic import ValidationError

from goodshot.components.metrics.declared import metric_of, objectives
from goodshot.runner import arms
from goodshot.runner.arms import Arm
from goodshot.runner.declaration.fields import Declaration, assign
from goodshot.runner.declaration.points import SWEPT
from goodshot.runner.declaration.search import Range
from goodshot.runner.study.problems import first_problem, misplaced_boolean

MOST_DRAWS = 100
"""Maximum draws for one point of a random search to differ from all earlier points."""

D = TypeVar("D", bound=Declaration)


def is_search(study: Declaration) -> bool:
    """Whether the search is more than the grid of the fields that the study itself lists."""
    return study.search.is_guided or study.search.algorithm != "grid" or bool(study.search.space)


def space_of(study: Declaration) -> dict[str, Range | tuple[Any, ...]]:
    """Every field of a point with its values. With ASHA, L is left out: each point goes through all values of L."""
    declared: dict[str, Range | tuple[Any, ...]] = {name: getattr(study, name) for name in SWEPT}
    if study.search.scheduler == "asha":
        del declared["iterations"]
    return {**declared, **study.search.space}


def is_whole(study: Declaration, field: str, values: Range) -> bool:
    """Whether the field takes only whole numbers."""
    if not all(v.is_integer() for v in (values.low, values.high, values.step or 1.0)):
        return False
    try:
        study.at({field: values.low + 0.5})
    except ValidationError:
        return True
    return False


def points_of(study: Declaration) -> list[dict[str, Any]]:
    """All points of a grid or a random search, each once.

    For a guided search, which knows no points yet, equally many random draws, to estimate its cost.
    """
    space = space_of(study)
    if study.search.algorithm == "grid":
        lists = {name: values for name, values in space.items() if not isinstance(values, Range)}
        return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]
    return _drawn(study, space)


def _drawn(study: Declaration, space: Mapping[str, Range | tuple[Any, ...]]) -> list[dict[str, Any]]:
    random = np.random.default_rng(study.search.seed)
    whole = {n for n, values in space.items() if isinstance(values, Range) and is_whole(study, n, values)}
    found: dict[str, dict[str, Any]] = {}
    for _ in range(MOST_DRAWS * study.search.trials):
        point = {name: _draw(values, name in whole, random) for name, values in space.items()}
        found.setdefault(repr(point), point)
        if len(found) == study.search.trials:
            break
    return list(found.values())


def _draw(values: Range | tuple[Any, ...], whole: bool, random: np.random.Generator) -> Any:
    if not isinstance(values, Range):
        return values[int(random.integers(len(values)))]
    step = values.step or (1 if whole and not values.log else None)
    if step is not None:
        drawn = values.low + step * int(random.integers(round((values.high - values.low) / step) + 1))
    elif values.log:
        drawn = float(np.exp(random.uniform(np.log(values.low), np.log(values.high))))
    else:
        drawn = float(random.uniform(values.low, values.high))
    # Rounding in sums of steps and in logarithms may exceed the ends by a last digit.
    drawn = min(max(drawn, values.low), values.high)
    return round(drawn) if whole else drawn


def extreme_points(study: D) -> list[D]:
    """Studies that together need everything that any point may need: each value of each field at least once."""
    candidates = {field: _candidates(study, field, values) for field, values in study.search.space.items()}
    if not candidates:
        return [study]
    first = {field: values[0] for field, values in candidates.items()}
    return [study.at({**first, field: value}) for field, values in candidates.items() for value in values]


def _candidates(study: Declaration, field: str, values: Range | tuple[Any, ...]) -> tuple[Any, ...]:
    return values.extreme_values(is_whole(study, field, values)) if isinstance(values, Range) else values


def problems(study: Declaration, judged: Arm) -> Iterator[str]:
    """The problems of a study's search, each as one line that names its field.

    Args:
        judged: the arm whose cells decide the value of a point.
    """
    search = study.search
    if search.scheduler == "asha" and len(study.iterations) < 2:
        yield "search.scheduler: asha compares points at growing L; give several iterations"
    if search.scheduler == "asha" and "iterations" not in judged.searched:
        yield f"search.scheduler: asha compares points at growing L, and arm {judged.name} has one L; use fifo"
    if search.scheduler == "asha" and "iterations" in search.space:
        yield "search.space.iterations: asha goes through the study's own iterations; give them there"
    for field, values in search.space.items():
        yield from _problems_of(study, judged, field, values)


def _problems_of(study: Declaration, judged: Arm, field: str, values: Range | tuple[Any, ...]) -> Iterator[str]:
    where, first = f"search.space.{field}", field.partition(".")[0]
    # A search over the dataset or the objective would answer another question.
    searchable = {name for arm in arms.ARMS for name in arm.searched}
    if first not in searchable:
        yield f"{where}: cannot be searched; there are: {', '.join(sorted(searchable))}, and the fields below them"
        return
    if first in metric_of(study.objective).blind_to:
        seeing = next(metric.name for metric in objectives() if first not in metric.blind_to)
        yield f"{where}: {study.objective} does not depend on it; search it with objective: {seeing}"
    elif first not in judged.searched:
        yield f"{where}: the cells of arm {judged.name}, by which points are judged, do not depend on it; leave it out"
    if isinstance(values, Range) and study.search.algorithm == "grid":
        yield f"{where}: a grid needs a list of values; use a range with search.algorithm random or optuna"
    try:
        for value in _candidates(study, field, values):
            study.at({field: value})
            given: dict[str, Any] = {}
            assign(given, field, value)
            if (problem := misplaced_boolean(type(study), given)) is not None:
                yield f"{where}: {problem.removeprefix(f'{field}: ')}"
                return
    except (IndexError, ValueError, TypeError) as error:
        if not isinstance(error, ValidationError):
            yield f"{where}: no such field"
            return
        line = first_problem(type(study), error)
        yield f"{where}: {line.removeprefix(f'{field}.0: ').removeprefix(f'{field}: ')}"
