"""The tried points of a study, in the form that the report's sentences, table and charts show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from goodshot.runner.declaration.points import ITERATIONS, SWEPT, symbol_of
from goodshot.runner.plan.plan import point_key
from goodshot.runner.results.trials import TrialRecord
from goodshot.runner.study.search import space_of
from goodshot.runner.study.study import Study


@dataclass(frozen=True)
class Tried:
    """The trials of a study in the order of their start, and the chosen trial."""

    study: Study
    trials: Sequence[TrialRecord]
    chosen: TrialRecord | None

    @property
    def varied(self) -> list[str]:
        """The fields in which the trials differ, in declared order, without L, which has a column of its own."""
        return [f for f in space_of(self.study) if f != ITERATIONS.name and self._differs(f)]

    @property
    def drawn(self) -> list[str]:
        """The fields to draw: those of :attr:`varied`, and L if the trials differ in it."""
        return [*self.varied, *[ITERATIONS.name] * self._differs(ITERATIONS.name)]

    def _differs(self, name: str) -> bool:
        return len({point_key({name: trial.values.get(name)}) for trial in self.trials}) > 1


def point_text(point: Mapping[str, Any]) -> str:
    """``λ = 0.69, copies = 2, L = 16``."""
    first = [name for name in SWEPT if name in point]
    names = [*first, *(name for name in point if name not in first)]
    return ", ".join(f"{symbol_of(name)} = {value_text(point[name])}" for name in names)


def value_text(value: Any) -> str:
    """Return a short text for a field's value."""
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)
