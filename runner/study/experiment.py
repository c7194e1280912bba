"""What an experiment is: one or several studies with the published numbers that they are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.errors import BadInput
from runner.study.study import Study

Studies = Callable[[], Sequence[Study]]


@dataclass(frozen=True)
class Reference:
    """One published number.

    value: on the scale of our own metrics, for example an AUROC in [0, 1].
    where: the columns of a row that it belongs to, for example ``{"category": "pill", "arm": "generated"}``.
    setting: what the number was measured with, so that a reader sees whether a comparison is one of like with like.
    """

    source: str
    metric: str
    value: float
    where: Mapping[str, Any]
    setting: str = ""

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether a row is a measurement of the same thing."""
        return all(row.get(column) == wanted for column, wanted in self.where.items())


@dataclass(frozen=True)
class Experiment:
    """Several studies that share their stages, as one command runs them. Its studies may differ in dataset and shots.

    real: the studies at full size. quick: the same question in minutes, on embedded weights and data.
    references: published numbers, once, with their source.
    sections: sections of the report that only this experiment has (:class:`runner.report.sections.Section`).
    """

    name: str
    title: str
    real: Studies
    quick: Studies | None = None
    references: tuple[Reference, ...] = ()
    sections: tuple[Any, ...] = ()

    def studies(self, quick: bool = False) -> tuple[Study, ...]:
        """Its studies. Raises BadInput if it has no quick flavour."""
        if quick and self.quick is None:
            raise BadInput(f"experiment {self.name}: has no quick flavour; leave out --quick")
        declare = self.quick if quick and self.quick is not None else self.real
        return tuple(declare())
