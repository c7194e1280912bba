"""An experiment: one or several studies with the published numbers that they are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from goodshot.components.errors import BadInput
from goodshot.runner.study.study import Study

Studies = Callable[[], Sequence[Study]]


@dataclass(frozen=True)
class Reference:
    """One published number, and the rows that measure the same quantity.

    metric: a metric's name, or the name of a quantity that no row holds, which a report can only print.
    value: on the scale of our own metrics, for example an AUROC in [0, 1]; for a gain, the printed percentage as a
        fraction, 0.157 for "15.7 %".
    where: the columns that identify the matching rows, for example ``{"category": "pill", "arm": "generated"}``. A
        detector may be named by its family alone: ``patchcore`` stands for ``patchcore-lite0`` too.
    setting: how the number was measured, in words, so that a reader sees whether the comparison is fair.
    kind: ``paper`` for a number of the paper that the experiment repeats; ``field`` for the result of another method,
        which is shown beside a result as a line of reference.
    spread: the number printed after ±; None if none is printed.
    subset: the test images that were measured: all, or one of the subsets in ``metrics/``, such as a defect type.
    over: for a gain, the arm with which the gain compares; None for the metric itself.
    unit: for a gain, ``points`` for a difference of two AUROCs, ``relative`` for a fraction of the baseline's value,
        and ``unstated`` for a printed "+x %" that may be either.
    mean_over: the columns over whose values the number is a mean, for example ``("category",)``.
    measured_with: the columns of a row that was measured as the number was, as far as its source says so; a row that
        differs in one of them rests on a substitute.
    doubt: why the printed number, or the label of its row, is probably wrong; empty where nothing speaks against it.
    """

    source: str
    metric: str
    value: float
    where: Mapping[str, Any]
    setting: str = ""
    kind: Literal["paper", "field"] = "paper"
    spread: float | None = None
    subset: str = "all"
    over: str | None = None
    unit: Literal["", "points", "relative", "unstated"] = ""
    mean_over: tuple[str, ...] = ()
    measured_with: Mapping[str, Any] = field(default_factory=dict)
    doubt: str = ""

    @property
    def is_of_one_row(self) -> bool:
        """Whether each matching row holds this quantity: neither a gain nor a mean, and over all test images."""
        return self.over is None and not self.mean_over and self.subset == "all"

    @property
    def baseline_where(self) -> dict[str, Any]:
        """The columns that identify the rows with which a gain compares."""
        shared = {column: value for column, value in self.where.items() if column in _SHARED_BY_ARMS}
        return {**shared, "arm": self.over}

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether a row has the values of ``where``, so that it measures the same quantity."""
        return _has(row, self.where)

    def substitutes(self, row: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Column → (value of the number's source, value of the row), where a row was measured otherwise.

        A column that the row's arm does not fill is left out.
        """
        filled = {column: value for column, value in self.measured_with.items() if row.get(column) is not None}
        return {c: (value, row[c]) for c, value in filled.items() if row[c] != value}


_SHARED_BY_ARMS = ("dataset", "category", "shots", "detector")
"""The columns that the rows of an arm and of its baseline have in common."""


def _has(row: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether a row has these values; a detector also by its family, which its label begins with."""
    for column, wanted in values.items():
        value = row.get(column)
        if value != wanted and not (column == "detector" and str(value).startswith(f"{wanted}-")):
            return False
    return True


@dataclass(frozen=True)
class Experiment:
    """Several studies that share their stages and that one command runs. They may differ in dataset and shots.

    item: the paper's table or figure, for example ``Table 1``; empty for an experiment of our own.
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
    item: str = ""

    def studies(self, quick: bool = False) -> tuple[Study, ...]:
        """The full-size or the quick studies. Raises BadInput if there is no quick flavour."""
        if quick and self.quick is None:
            raise BadInput(f"experiment {self.name}: has no quick flavour; leave out --quick")
        declare = self.quick if quick and self.quick is not None else self.real
        return tuple(declare())
