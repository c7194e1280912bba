"""What the driver tells the process that writes W&B runs, and what this tells the driver: plain data, as pickles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from goodshot.runner.results.record import CellRecord
from goodshot.runner.results.results import Results

Mode = Literal["online", "offline"]


@dataclass(frozen=True)
class Started:
    """The first message.

    results, store_uri: where the rows and the artifacts lie, in terms that hold in any process.
    folder: the local folder below which W&B keeps its files, in ``wandb/``.
    temporary: a folder for W&B's temporary files, which is deleted at the end.
    report: where the report lies, without credentials.
    """

    results: Results
    store_uri: str
    folder: str
    temporary: str
    mode: Mode
    report: str


@dataclass(frozen=True)
class StudyBegun:
    """A study whose points follow.

    declared: all its fields, nested, without credentials.
    metrics: the columns of its rows that are averaged.
    """

    name: str
    declared: Mapping[str, Any]
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class TrackedCell:
    """A cell of a point: its record, the name of its support, and its variant of an arm.

    prompt_kind: the prompt that the trace of its training was scored with; None if no trace explains its images.
    """

    record: CellRecord
    support: str
    variant: str
    copies: int
    prompt_kind: str | None


@dataclass(frozen=True)
class PointBegun:
    """A point of a study, with its cells by L."""

    study: str
    key: str
    label: str
    values: Mapping[str, Any]
    cells: Mapping[int, tuple[TrackedCell, ...]]


@dataclass(frozen=True)
class PointEnded:
    """That no further cell of a point runs. ``iterations`` is the L that it is judged at, None for its last."""

    study: str
    key: str
    iterations: int | None = None


@dataclass(frozen=True)
class StudyEnded:
    """A study of several points at its end: what became of them, and the best one.

    trials: (key of the point, its values with L, state, objective) of each.
    chosen: key and values of the best point, and its study as YAML; None if no point has a value.
    """

    study: str
    objective: str
    trials: Sequence[tuple[str, Mapping[str, Any], str, float | None]]
    chosen: tuple[str, Mapping[str, Any], str] | None


Message = StudyBegun | PointBegun | PointEnded | StudyEnded


@dataclass(frozen=True)
class Logged:
    """What became of the W&B runs: the numbers of those written and not written, and the first error.

    ``unreachable`` is why runs were written offline although they should have been sent; empty if they were sent.
    """

    written: int = 0
    failed: int = 0
    error: str = ""
    unreachable: str = ""
