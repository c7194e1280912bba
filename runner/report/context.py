"""The data of a report: one ``--out`` with its store (:class:`Output`), and one study in it (:class:`StudyContext`).

Reading them needs neither the dataset nor Ray nor torch. An artifact that the store no longer contains is listed as
missing and left out of the page, and is not an error.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from typing import Any, TypeVar

from goodshot.components.errors import BadInput, GoodshotError
from goodshot.runner.arms import Arm, arm_of_row, is_known_arm
from goodshot.runner.declaration.points import Point
from goodshot.runner.results.comparison import Comparison, Row, compare, subject_of
from goodshot.runner.results.record import (
    CellRecord,
    ExperimentRecord,
    StudyRecord,
    read_experiments,
    read_record,
    record_names,
)
from goodshot.runner.results.results import Results
from goodshot.runner.results.trials import Ledger, TrialRecord, chosen
from goodshot.runner.run.options import Options
from goodshot.runner.store.artifacts import Store
from goodshot.runner.store.files import public
from goodshot.runner.study.search import is_search, points_of

T = TypeVar("T")


@dataclass(eq=False)
class Output:
    """One ``--out`` and its store, which all studies of a page share.

    rows: the rows of all finished cells of known arms, by fingerprint.
    runs: the record of each run into this folder, as written to ``runs/``.
    unread: one line for each file or kind of row that this version of goodshot cannot read.
    seen: store keys of the artifacts whose pictures the page already shows.
    """

    results: Results
    store: Store
    rows: Mapping[str, Row]
    runs: Sequence[Row]
    unread: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    @property
    def shown(self) -> str:
        """The folder or URI, as it was given and without credentials."""
        return self.results.files.shown

    def try_read(self, read: Callable[[], T]) -> T | None:
        """Return ``read()``. If a file cannot be read, add a line to ``unread`` and return None."""
        try:
            return read()
        except GoodshotError as error:
            self.unread.append(str(error).splitlines()[0])
            return None

    @cached_property
    def experiments(self) -> Sequence[ExperimentRecord]:
        """The experiments that were run into this folder."""
        return self.try_read(lambda: read_experiments(self.results)) or ()

    @cached_property
    def metrics(self) -> dict[str, dict[tuple[str, str], float]]:
        """The long table ``metrics/``: fingerprint → (subset, metric) → value."""
        values: dict[str, dict[tuple[str, str], float]] = {}
        for line in self.results.read("metrics").to_pylist():
            values.setdefault(line["fingerprint"], {})[line["subset"], line["metric"]] = line["value"]
        return values

    @cached_property
    def failures(self) -> dict[str, Row]:
        """The latest failure of each failed cell, by fingerprint."""
        return {row["fingerprint"]: row for row in self.results.read("failures").to_pylist()}

    @cached_property
    def steps(self) -> Counter[str]:
        """Executed generator steps, summed over all runs, by the store key of the training."""
        total: Counter[str] = Counter()
        for run in self.runs:
            for stage_id, steps in run.get("generator_steps", {}).items():
                total[stage_id.partition("?")[0]] += steps
        return total


def read_studies(options: Options) -> list[StudyContext]:
    """Return every study that was run into ``--out``, finished or not.

    Raises:
        BadInput: no study was run into ``--out``.
    """
    results = Results(options.out)
    names = record_names(results)
    if not names:
        raise BadInput(
            f"{public(options.out)}: holds no study; give the folder that was the --out of 'goodshot sweep' or "
            "'goodshot demo'"
        )
    output = _output(results, options)
    records = [output.try_read(partial(read_record, results, name)) for name in names]
    studies = [StudyContext(record, output) for record in records if record is not None]
    if not studies:
        raise BadInput(output.unread[0])
    return studies


def _output(results: Results, options: Options) -> Output:
    rows = results.rows()
    labels = Counter(str(row["arm"]) for row in rows.values())
    unknown = {label: count for label, count in labels.items() if not is_known_arm(label)}
    output = Output(
        results,
        Store(options.store_uri),
        {fingerprint: row for fingerprint, row in rows.items() if str(row["arm"]) not in unknown},
        [],
        [
            f"{count} row{'s' * (count != 1)} of arm {label!r}, which this version of goodshot does not have"
            for label, count in unknown.items()
        ],
    )
    runs = (output.try_read(partial(_run, results, name)) for name in results.files.names("runs", ".json"))
    output.runs = [run for run in runs if run is not None]
    return output


def _run(results: Results, name: str) -> Row:
    """The record of a run. Raises :class:`BadInput` if the file holds no such record."""
    try:
        run = json.loads(results.files.read(name))
    except ValueError:
        run = None
    if not isinstance(run, dict):
        raise BadInput(f"{results.files.where(name)}: is no record of a run; delete it")
    return run


class StudyContext:
    """One study of a page: its cells and rows, its chosen point, and its artifacts.

    missing: one line for each artifact that could not be read, for example because the store no longer contains it.
    repeated: whether an earlier study on the page shows some of this study's pictures.
    """

    def __init__(self, record: StudyRecord, output: Output) -> None:
        self.record, self.output, self.study = record, output, record.study
        self.is_search = is_search(record.study)
        self.missing: list[str] = []
        self.repeated = False

    @property
    def title(self) -> str:
        """The study's title, or its name if it has no title."""
        return self.study.title or self.study.name

    @property
    def is_sweep(self) -> bool:
        """Whether the report compares several declared points. For a search, the report shows only the chosen point."""
        return len(self.study.points) > 1 and not self.is_search

    @cached_property
    def trials(self) -> Sequence[TrialRecord]:
        """The tried points; empty for a study with one point, and in an ``--out`` from before trials were recorded."""
        has_trials = len(self.study.points) > 1 or self.is_search
        return Ledger(self.output.results, self.study).read() if has_trials else ()

    @cached_property
    def chosen(self) -> TrialRecord | None:
        """The trial with the best objective; None if no trial has a value."""
        return chosen(self.trials)

    @property
    def chosen_cells(self) -> tuple[str, ...]:
        """The fingerprints of the cells at the chosen point."""
        return self.chosen.best.fingerprints if self.chosen and self.chosen.best else ()

    @cached_property
    def asked(self) -> list[str]:
        """The fingerprints of the recorded cells, then of further cells that trials reported.

        A search that was killed has trials whose cells are not in its record yet.
        """
        reported = (f for trial in self.trials for report in trial.reports for f in report.fingerprints)
        return list(dict.fromkeys([*(cell.fingerprint for cell in self.record.cells), *reported]))

    @property
    def is_complete(self) -> bool:
        """Whether every cell is finished and no further point will be tried."""
        if len(self.rows) < len(self.asked) or any(trial.state == "running" for trial in self.trials):
            return False
        return not self.is_search or len(self.trials) >= self.planned

    @property
    def planned(self) -> int:
        """How many points the search tries."""
        return self.study.search.trials if self.study.search.algorithm == "optuna" else len(points_of(self.study))

    @cached_property
    def rows(self) -> list[Row]:
        """The rows of the study's finished cells."""
        return [self._rows[f] for f in self.asked if f in self._rows]

    @cached_property
    def _rows(self) -> Mapping[str, Row]:
        """The rows of ``--out`` by fingerprint, with the categories' names in this study.

        A row has the category name of the last run with the same photographs; another study may use another name.
        """
        rows = dict(self.output.rows)
        # Records of earlier versions have a copied category's cells under the first one's fingerprints.
        for cell in reversed(self.record.cells):
            if (row := rows.get(cell.fingerprint)) is not None:
                rows[cell.fingerprint] = {**row, "category": cell.category, "dataset": self.study.dataset.name}
        return rows

    @cached_property
    def shown(self) -> list[Row]:
        """The rows to compare: all rows, or for a search only those at the chosen point.

        The rows of two points of a search may be equal in all columns of a table.
        """
        return [self._rows[f] for f in self.chosen_cells if f in self._rows] if self.is_search else self.rows

    @cached_property
    def comparisons(self) -> Sequence[Comparison]:
        """The variants by category and detector, each with its differences to the baselines."""
        return compare(self.shown)

    @cached_property
    def has_one_subject(self) -> bool:
        """Whether all compared rows were measured with the same kind of cell and the same detector."""
        return len({subject_of(row) for row in self.shown}) < 2

    @cached_property
    def cells(self) -> list[CellRecord]:
        """The finished cells of the study's record, in declared order."""
        return [cell for cell in self.record.cells if cell.fingerprint in self._rows]

    @cached_property
    def point_cells(self) -> list[CellRecord]:
        """The finished cells at the chosen point; without one, those at the last declared point (a search: none)."""
        return [cell for cell in self.cells if self._is_of_point(cell)]

    @cached_property
    def cells_with_shown_images(self) -> list[CellRecord]:
        """The cells of :attr:`point_cells` whose images the page shows: those of the first support seed, and those
        without a support seed, as a category with ``shots: full`` or a listed support has."""
        first = self.study.support_seeds[0]
        return [cell for cell in self.point_cells if self.row(cell)["support_seed"] in (None, first)]

    def _is_of_point(self, cell: CellRecord) -> bool:
        if self.is_search:
            return cell.fingerprint in self.chosen_cells
        row = self.row(cell)
        return all(row[name] == self._point[name] for name in self.arm(cell).point_fields)

    @cached_property
    def _point(self) -> Mapping[str, Any]:
        return self.chosen.point if self.chosen else asdict(self.last_point)

    @cached_property
    def last_point(self) -> Point:
        """The last declared point, which thousands of cells are compared with."""
        return self.study.points[-1]

    def row(self, cell: CellRecord) -> Row:
        """The row of a finished cell."""
        return self._rows[cell.fingerprint]

    def arm(self, cell: CellRecord) -> Arm:
        """The arm of a cell."""
        return arm_of_row(cell.arm)

    def not_yet_shown(self, cells: Iterable[CellRecord], key: Callable[[CellRecord], str | None]) -> list[CellRecord]:
        """Return the first cell of each key that the page does not show yet, and mark all these keys as shown."""
        first_cells = {str(key(cell)): cell for cell in reversed(list(cells))}
        unshown = [cell for name, cell in reversed(first_cells.items()) if name not in self.output.seen]
        self.repeated = self.repeated or len(unshown) < len(first_cells)
        self.output.seen.update(first_cells)
        return unshown

    def read(self, description: str, read: Callable[[], T]) -> T | None:
        """Return ``read()``. If the artifact cannot be read, add a line to ``missing`` and return None.

        Args:
            description: names the artifact at the beginning of that line.
        """
        try:
            return read()
        except (GoodshotError, FileNotFoundError) as error:
            reason = str(error).splitlines()[0].removeprefix(f"{public(self.output.store.uri)}: ")
            self.missing.append(f"{description}: {reason}")
            return None

    def read_each(self, description: str, cells: Iterable[CellRecord], read: Callable[[CellRecord], T]) -> list[T]:
        """Return ``read(cell)`` of each cell, without the cells whose artifacts cannot be read; see :meth:`read`."""
        labelled = ((f"{description} of {cell.category}, {support_label(self.row(cell))}", cell) for cell in cells)
        values = [self.read(label, partial(read, cell)) for label, cell in labelled]
        return [value for value in values if value is not None]


def support_label(row: Mapping[str, Any]) -> str:
    """``support 0``; ``seed 0`` for a support that no seed has drawn, whose rows differ by the training's seed."""
    return f"seed {row['seed']}" if row["support_seed"] is None else f"support {row['support_seed']}"
