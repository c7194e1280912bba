"""What a study searches: which fields vary, what they may be, and which points are tried.

A grid and a random search know all their points before anything runs, so their cells share every training. A *guided*
search chooses as it goes: Optuna its next point, ASHA which points are worth a larger L.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, ValidationError, model_validator

from components.config import Config
from runner.study.problems import first_problem, misplaced_boolean

if TYPE_CHECKING:
    from runner.study.study import Study

Algorithm = Literal["grid", "random", "optuna"]
Scheduler = Literal["fifo", "asha"]
Values = Mapping[str, Any]
"""A point: by field, dotted where it is nested, its value."""
SWEPT = ("vq_weight", "copies", "iterations")
"""The fields that a study declares as several values; each is part of every point."""
SEARCHABLE = {
    *SWEPT, "score_every", "prompt_kind", "select", "variance", "detail", "post_augment", "augmentation", "generator",
    "variation", "prompt", "encoder", "encoder_precision", "vqgan_clip", "detectors",
}  # fmt: skip
"""What makes a point better or worse; another dataset or objective would make it another question."""
UNSEEN_BY_SIMILARITY = {"encoder", "encoder_precision", "detectors", "vqgan_clip"}
"""Similarities of two encoders cannot be compared, and a detector's setting does not change it."""
MOST_DRAWS = 100
"""For each point of a random search, until one is drawn that is not among the others yet."""

Scalar = bool | int | float | str | None


class Range(Config):
    """A number from ``low`` to ``high``, both included: uniform, or uniform in its logarithm.

    step: between two neighbouring values (of ``log`` none); whole-number fields have 1 if none is given.
    """

    low: float
    high: float
    log: bool = False
    step: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low = {self.low:g} must be below high = {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low = {self.low:g} must be above 0 for log: true")
        if self.log and self.step is not None:
            raise ValueError("give step or log: true, not both")
        steps = (self.high - self.low) / self.step if self.step else 0.0
        if self.step is not None and abs(steps - round(steps)) > 1e-9:
            raise ValueError(f"step = {self.step:g} must divide high − low = {self.high - self.low:g}")
        return self

    def corners(self, whole: bool) -> tuple[float, ...]:
        """Its ends and the value next to the lower one: what has to be allowed for all of it to be."""
        step = self.step or (1 if whole else (self.high - self.low) / 3)
        found = (self.low, self.low + step, self.high)
        return tuple(int(value) for value in found) if whole else found


def _as_values(value: Any) -> Any:
    return (value,) if isinstance(value, bool | int | float | str) else value


def _distinct(values: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
    if len({repr(v) for v in values}) != len(values):
        raise ValueError("a value stands there twice; name each once")
    return values


Listed = Annotated[tuple[Scalar, ...], Field(min_length=1), AfterValidator(_distinct), BeforeValidator(_as_values)]


Space = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Listed, Tag("values")],
    Discriminator(lambda value: "range" if isinstance(value, dict | Range) else "values"),
]


class SearchConfig(Config):
    """How the points of a study are chosen.

    The space is ``vq_weight`` × ``copies`` × ``iterations`` as the study declares them, and ``space`` on top: any other
    field of the method, or ranges for those three.
    """

    algorithm: Algorithm = "grid"
    scheduler: Scheduler = Field(
        default="fifo", description="asha: L is the training iteration; points that are behind are not trained further"
    )
    trials: Annotated[int, Field(ge=1)] = Field(default=20, description="points of random and optuna")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    space: dict[str, Space] = Field(default={}, description="field → its values, or a range of numbers")
    reduction: Annotated[float, Field(gt=1)] = Field(default=3, description="asha: one of so many goes on at a rung")
    concurrent: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="points under way at once in a guided search; default: what fills the cluster"
    )

    @property
    def is_guided(self) -> bool:
        """Whether points, or how far they go, are chosen by the results of others."""
        return self.algorithm == "optuna" or self.scheduler == "asha"


def is_search(study: Study) -> bool:
    """Whether it is more than the grid of the three fields that it declares."""
    return study.search.is_guided or study.search.algorithm != "grid" or bool(study.search.space)


def space_of(study: Study) -> dict[str, Range | tuple[Any, ...]]:
    """Every field of a point, with what it may be. ASHA's L is no field of it: each point goes through all of them."""
    declared: dict[str, Range | tuple[Any, ...]] = {name: getattr(study, name) for name in SWEPT}
    if study.search.scheduler == "asha":
        del declared["iterations"]
    return {**declared, **study.search.space}


def is_whole(study: Study, field: str, values: Range) -> bool:
    """Whether the field takes whole numbers alone."""
    if not all(v.is_integer() for v in (values.low, values.high, values.step or 1.0)):
        return False
    try:
        study.at({field: values.low + 0.5})
    except ValidationError:
        return True
    return False


def points_of(study: Study) -> list[dict[str, Any]]:
    """All points of a grid or a random search, each once.

    Of a guided search a random draw of as many, to see beforehand what it will take.
    """
    space = space_of(study)
    if study.search.algorithm == "grid":
        lists = {name: values for name, values in space.items() if not isinstance(values, Range)}
        return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]
    return _drawn(study, space)


def _drawn(study: Study, space: Mapping[str, Range | tuple[Any, ...]]) -> list[dict[str, Any]]:
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
    # Sums of steps, and logarithms, may end a last digit beyond the ends.
    drawn = min(max(drawn, values.low), values.high)
    return round(drawn) if whole else drawn


def corners(study: Study) -> list[Study]:
    """Studies that need between them whatever a point of the search may need: each value of each field, by itself."""
    candidates = {field: _candidates(study, field, values) for field, values in study.search.space.items()}
    if not candidates:
        return [study]
    first = {field: values[0] for field, values in candidates.items()}
    return [study.at({**first, field: value}) for field, values in candidates.items() for value in values]


def _candidates(study: Study, field: str, values: Range | tuple[Any, ...]) -> tuple[Any, ...]:
    return values.corners(is_whole(study, field, values)) if isinstance(values, Range) else values


def problems(study: Study) -> Iterator[str]:
    """What is wrong with a study's search, each in one line that names its field."""
    search = study.search
    if search.scheduler == "asha" and len(study.iterations) < 2:
        yield "search.scheduler: asha compares points at growing L; give several iterations"
    if search.scheduler == "asha" and "iterations" in search.space:
        yield "search.space.iterations: asha goes through the study's own iterations; give them there"
    for field, values in search.space.items():
        yield from _problems_of(study, field, values)


def _problems_of(study: Study, field: str, values: Range | tuple[Any, ...]) -> Iterator[str]:
    where, first = f"search.space.{field}", field.partition(".")[0]
    if first not in SEARCHABLE:
        yield f"{where}: not to be searched; there are: {', '.join(sorted(SEARCHABLE))}, and what is below them"
        return
    if study.objective == "similarity" and first in UNSEEN_BY_SIMILARITY:
        yield f"{where}: similarity says nothing about it; search it with objective: planted"
    if isinstance(values, Range) and study.search.algorithm == "grid":
        yield f"{where}: a grid needs a list of values; a range is for search.algorithm random or optuna"
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


def assign(fields: dict[str, Any], path: str, value: Any) -> None:
    """Set a field by its dotted path; a number is a place in a list (``detectors.0.image_size``)."""
    *parents, last = path.split(".")
    target: Any = fields
    for part in parents:
        target = target[int(part)] if isinstance(target, list) else target.setdefault(part, {})
    if isinstance(target, list):
        target[int(last)] = value
    else:
        target[last] = value
