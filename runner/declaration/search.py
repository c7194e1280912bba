"""The configuration of a search: the fields of a study that vary, and their values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from goodshot.components.config import Config

Algorithm = Literal["grid", "random", "optuna"]
Scheduler = Literal["fifo", "asha"]
Values = Mapping[str, Any]
"""A point of a search: field (dotted where nested) → value."""

Scalar = bool | int | float | str | None


class Range(Config):
    """A number from ``low`` to ``high``, both included: uniform, or uniform in its logarithm.

    step: the distance of neighbouring values, not allowed with ``log``; for whole-number fields 1 by default.
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

    def extreme_values(self, whole: bool) -> tuple[float, ...]:
        """Both ends and the value next to the lower one: if these are allowed, the whole range is."""
        step = self.step or (1 if whole else (self.high - self.low) / 3)
        found = (self.low, self.low + step, self.high)
        return tuple(int(value) for value in found) if whole else found


def _as_values(value: Any) -> Any:
    return (value,) if isinstance(value, bool | int | float | str) else value


def _distinct(values: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
    if len({repr(v) for v in values}) != len(values):
        raise ValueError("a value is given twice; give each once")
    return values


Listed = Annotated[tuple[Scalar, ...], Field(min_length=1), AfterValidator(_distinct), BeforeValidator(_as_values)]


Space = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Listed, Tag("values")],
    Discriminator(lambda value: "range" if isinstance(value, dict | Range) else "values"),
]


class SearchConfig(Config):
    """How the points of a study are chosen.

    The space is ``vq_weight`` × ``copies`` × ``iterations`` as the study lists them, extended by ``space``: any other
    field of the method, or ranges for those three.
    """

    algorithm: Algorithm = "grid"
    scheduler: Scheduler = Field(
        default="fifo", description="asha: L is the training iteration; the worst points are not trained further"
    )
    trials: Annotated[int, Field(ge=1)] = Field(default=20, description="number of points of random and optuna")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    space: dict[str, Space] = Field(default={}, description="field → list of values, or range of numbers")
    reduction: Annotated[float, Field(gt=1)] = Field(
        default=3, description="asha: 1 of so many points continues at a rung"
    )
    concurrent: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="points run at once in a guided search; default: enough to fill the cluster"
    )

    @property
    def is_guided(self) -> bool:
        """Whether results of earlier points decide later points, or how far points are trained."""
        return self.algorithm == "optuna" or self.scheduler == "asha"
