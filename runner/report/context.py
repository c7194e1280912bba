"""What the sections of a report read from: one ``--out`` with its store, and one study in it.

No dataset, no Ray and no torch. What the store no longer holds is noted and left out, never an error.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from typing import Any, TypeVar

from components.errors import BadInput, GoodshotError
from runner.arms import Arm, arm_of_row
from runner.results.comparison import Comparison, Row, compare, subject_of
from runner.results.record import CellRecord, StudyRecord, read_records
from runner.results.results import Results
from runner.results.trials import Ledger, TrialRecord, chosen
from runner.run.options import Options
from runner.store.artifacts import Store
from runner.store.files import public
from runner.study.search import is_search

T = TypeVar("T")


@dataclass
class Output:
    """One ``--out`` and its store, as all studies of a page share them.

    rows: those of all finished cells, by fingerprint.
    runs: what each run into this folder wrote down.
    seen: keys of the artifacts whose pictures the page shows already.
    """

    results: Results
    store: Store
    rows: Mapping[str, Row]
    runs: Sequence[Row]
    seen: set[str] = field(default_factory=set)

    @cached_property
    def metrics(self) -> dict[str, dict[tuple[str, str], float]]:
        """The long table of metrics: fingerprint → (subset, metric) → value."""
        found: dict[str, dict[tuple[str, str], float]] = {}
        for value in self.results.read("metrics").to_pylist():
            found.setdefault(value["fingerprint"], {})[value["subset"], value["metric"]] = value["value"]
        return found

    @cached_property
    def steps(self) -> Counter[str]:
        """Generator steps executed in all runs, by the key of the training."""
        found: Counter[str] = Counter()
        for run in self.runs:
            for flight, steps in run["generator_steps"].items():
                found[flight.partition("?")[0]] += steps
        return found


def read_studies(options: Options) -> list[StudyContext]:
    """Every study of a finished or half-finished ``--out``.

    Raises:
        BadInput: no study was ever run into it.
    """
    results = Results(options.out)
    records = read_records(results)
    if not records:
        raise BadInput(
            f"{public(options.out)}: holds no study; give the folder that 'goodshot sweep' or 'demo' was told with "
            "--out"
        )
    runs = [json.loads(results.files.read(name)) for name in results.files.names("runs", ".json")]
    output = Output(results, Store(options.store_uri), results.rows(), runs)
    return [StudyContext(record, output) for record in records]


class StudyContext:
    """One study of a page: its cells and rows, the point that is shown of it, and its artifacts.

    missing: what the store no longer holds, each in one line.
    repeated: whether an earlier study shows some of its pictures.
    """

    def __init__(self, record: StudyRecord, output: Output) -> None:
        self.record, self.output, self.study = record, output, record.study
        self.is_search = is_search(record.study)
        self.missing: list[str] = []
        self.repeated = False

    @property
    def title(self) -> str:
        """Its title, or its name."""
        return self.study.title or self.study.name

    @property
    def is_sweep(self) -> bool:
        """Whether its declared points are shown side by side; of a search only the chosen one is."""
        return len(self.study.points) > 1 and not self.is_search

    @cached_property
    def trials(self) -> Sequence[TrialRecord]:
        """The points that it has tried; none of a study with one point, or of an old ``--out``."""
        wanted = len(self.study.points) > 1 or self.is_search
        return Ledger(self.output.results, self.study).read() if wanted else ()

    @cached_property
    def chosen(self) -> TrialRecord | None:
        """The trial whose objective is the best."""
        return chosen(self.trials)

    @property
    def chosen_cells(self) -> tuple[str, ...]:
        """The fingerprints that the chosen trial's value rests on."""
        return self.chosen.best.fingerprints if self.chosen and self.chosen.best else ()

    @cached_property
    def asked(self) -> list[str]:
        """Every cell's fingerprint: a search that was killed may have reported some that it has not recorded."""
        reported = (f for trial in self.trials for report in trial.reports for f in report.fingerprints)
        return list(dict.fromkeys([*(cell.fingerprint for cell in self.record.cells), *reported]))

    @cached_property
    def rows(self) -> list[Row]:
        """Those of its finished cells."""
        return [self.output.rows[f] for f in self.asked if f in self.output.rows]

    @cached_property
    def shown(self) -> list[Row]:
        """Those that are compared: of a search the chosen point's, as rows of two points may differ in no column."""
        return (
            [self.output.rows[f] for f in self.chosen_cells if f in self.output.rows] if self.is_search else self.rows
        )

    @cached_property
    def comparisons(self) -> Sequence[Comparison]:
        """Its variants by category and detector."""
        return compare(self.shown)

    @cached_property
    def has_one_subject(self) -> bool:
        """Whether all that is compared was measured with one detector."""
        return len({subject_of(row) for row in self.shown}) < 2

    @cached_property
    def cells(self) -> list[CellRecord]:
        """The finished ones, in declared order."""
        return [cell for cell in self.record.cells if cell.fingerprint in self.output.rows]

    @cached_property
    def point_cells(self) -> list[CellRecord]:
        """Those of the chosen point; where nothing was chosen, of a sweep's last declared one."""
        return [cell for cell in self.cells if self._is_of_point(cell)]

    @cached_property
    def pictured(self) -> list[CellRecord]:
        """Those of that point whose support is shown: the first, or the only one of a category that draws none."""
        first = self.study.support_seeds[0]
        return [cell for cell in self.point_cells if self.row(cell)["support_seed"] in (None, first)]

    def _is_of_point(self, cell: CellRecord) -> bool:
        if self.is_search:
            return cell.fingerprint in self.chosen_cells
        point = self.chosen.point if self.chosen else asdict(self.study.points[-1])
        row = self.row(cell)
        return all(row[name] == point[name] for name in self.arm(cell).point_fields)

    def row(self, cell: CellRecord) -> Row:
        """A finished cell's row."""
        return self.output.rows[cell.fingerprint]

    def arm(self, cell: CellRecord) -> Arm:
        """A cell's arm."""
        return arm_of_row(cell.arm)

    def new(self, cells: Iterable[CellRecord], key: Callable[[CellRecord], str | None]) -> list[CellRecord]:
        """The first cell of each key that no earlier study of the page shows; the keys are shown from now on."""
        firsts = {str(key(cell)): cell for cell in reversed(list(cells))}
        fresh = [cell for name, cell in reversed(firsts.items()) if name not in self.output.seen]
        self.repeated = self.repeated or len(fresh) < len(firsts)
        self.output.seen.update(firsts)
        return fresh

    def read(self, what: str, read: Callable[[], T]) -> T | None:
        """What ``read`` returns; None, and a line in ``missing``, where the store does not hold it."""
        try:
            return read()
        except (GoodshotError, FileNotFoundError) as error:
            reason = str(error).splitlines()[0].removeprefix(f"{public(self.output.store.uri)}: ")
            self.missing.append(f"{what}: {reason}")
            return None

    def read_each(self, what: str, cells: Iterable[CellRecord], read: Callable[[CellRecord], T]) -> list[T]:
        """What ``read`` returns of each cell; ``what`` begins the line of a cell that is missing."""
        named = ((f"{what} of {cell.category}, {support_label(self.row(cell))}", cell) for cell in cells)
        found = [self.read(name, partial(read, cell)) for name, cell in named]
        return [item for item in found if item is not None]


def support_label(row: Mapping[str, Any]) -> str:
    """``support 0``; a ``full`` support has no seed of its own, its rows differ by the training's."""
    return f"seed {row['seed']}" if row["support_seed"] is None else f"support {row['support_seed']}"
