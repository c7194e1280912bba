"""An experiment: one or several studies with the published numbers that they are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from goodshot.components.errors import BadInput
from goodshot.runner.study.study import Study

Studies = Callable[[], Sequence[Study]]


@dataclass(frozen=True)
class Reference:
    """One published number.

    value: on the scale of our own metrics, for example an AUROC in [0, 1].
    where: the columns that identify the matching row, for example ``{"category": "pill", "arm": "generated"}``.
    setting: how the number was measured, so that a reader sees whether the comparison is fair.
    """

    source: str
    metric: str
    value: float
    where: Mapping[str, Any]
    setting: str = ""

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether a row has the values of ``where``, so that it measures the same quantity."""
        return all(row.get(column) == wanted for column, wanted in self.where.items())


@dataclass(frozen=True)
class Experiment:
    """Several studies that share their stages and that one command runs. They may differ in dataset and shots.

    real: returns the studies at full size. quick: the same question in minutes, on embedded weights and data.
    references: published numbers with their source.
    sections: sections of the report that only this experiment has (:class:`goodshot.runner.report.sections.Section`).
    """

    name: str
    title: str
    real: Studies
    quick: Studies | None = None
    references: tuple[Reference, ...] = ()
    sections: tuple[Any, ...] = ()

    def studies(self, quick: bool = False) -> tuple[Study, ...]:
        """The full-size or the quick studies. Raises BadInput if there is no quick flavour."""
        if quick and self.quick is None:
            raise BadInput(f"experiment {self.name}: has no quick flavour; leave out --quick")
        declare = self.quick if quick and self.quick is not None else self.real
        return tuple(declare())
