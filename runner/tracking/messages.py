"""The messages between the driver and the process that writes W&B runs: plain data, sent as pickles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from goodshot.runner.results.record import CellRecord
from goodshot.runner.results.results import Results

Mode = Literal["online", "offline"]


@dataclass(frozen=True)
class Started:
    """The first message to the process.

    results, store_uri: the tables and the store's URI, which are valid in any process.
    folder: the local folder in which W&B keeps its files, below ``wandb/``.
    temporary: a folder for W&B's temporary files, which is deleted at the end.
    mode: ``online`` if W&B runs are to be sent to a server.
    report: the path or URI of the report, without credentials.
    """

    results: Results
    store_uri: str
    folder: str
    temporary: str
    mode: Mode
    report: str


@dataclass(frozen=True)
class StudyBegun:
    """A study begins; messages about its points follow.

    declared: all fields of the study, nested, without credentials.
    metrics: the columns of the study's rows that are averaged.
    """

    name: str
    declared: Mapping[str, Any]
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class TrackedCell:
    """A cell of a point.

    record: the record of the cell.
    support: the name of the cell's support.
    variant: the label of the arm's variant that added images to the cell.
    copies: the number of copies that the variant adds.
    prompt_kind: the kind of prompt by which the trace of the training was scored; None if the arm has no trace.
    """

    record: CellRecord
    support: str
    variant: str
    copies: int
    prompt_kind: str | None


@dataclass(frozen=True)
class PointBegun:
    """A point of a study begins.

    key: identifies the point within the study.
    values: the values of the point's fields.
    cells: the point's cells at each L.
    """

    study: str
    key: str
    label: str
    values: Mapping[str, Any]
    cells: Mapping[int, tuple[TrackedCell, ...]]


@dataclass(frozen=True)
class PointEnded:
    """A point has ended: none of its cells will run any more.

    iterations: the L at which the point is judged; None for its largest L.
    """

    study: str
    key: str
    iterations: int | None = None


@dataclass(frozen=True)
class StudyEnded:
    """A study with several points has ended.

    objective: the name of the objective by which points are compared.
    trials: for each point its key, its values with the L, its state, and the objective's value.
    chosen: for the best point its key, its values, and the study at this point as YAML; None if no point has a value.
    """

    study: str
    objective: str
    trials: Sequence[tuple[str, Mapping[str, Any], str, float | None]]
    chosen: tuple[str, Mapping[str, Any], str] | None


Message = StudyBegun | PointBegun | PointEnded | StudyEnded


@dataclass(frozen=True)
class Logged:
    """The answer of the process: how many W&B runs were written.

    written, failed: the numbers of runs that were written and that could not be written.
    error: the first error; empty if there was none.
    unreachable: why runs that should have been sent were written offline; empty if they were sent.
    """

    written: int = 0
    failed: int = 0
    error: str = ""
    unreachable: str = ""
