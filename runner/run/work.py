"""Determine the work of a run: the unfinished cells, and the searches that have not tried all their points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console

from goodshot.runner.executor.local import LocalExecutor
from goodshot.runner.plan.plan import Plan, Trial, point_key
from goodshot.runner.plan.planning import Declared, make_plan, plan_point
from goodshot.runner.results.compaction import tidy
from goodshot.runner.results.record import write_record
from goodshot.runner.results.renaming import rename
from goodshot.runner.results.results import Results
from goodshot.runner.results.trials import Ledger
from goodshot.runner.run.options import Options
from goodshot.runner.store.artifacts import Store
from goodshot.runner.study.search import points_of
from goodshot.runner.study.study import Study

if TYPE_CHECKING:
    from goodshot.runner.cluster.handles import BrokerHandle

MOST_TRIES = 3
"""The number of failures after which a cell is skipped, because it would probably fail again in every run."""


@dataclass
class Work:
    """The plan of a run, and the part of it that remains to be done.

    missing: fingerprints of the cells to run, without those of guided searches, whose points are chosen during the run.
    skipped: fingerprints of the cells that failed too often.
    reused: the number of requested cells that are finished.
    open_searches: names of the studies whose guided search has not ended.
    """

    declared: Sequence[Declared]
    plan: Plan
    results: Results
    options: Options
    missing: list[str] = field(default_factory=list)
    skipped: frozenset[str] = frozenset()
    reused: int = 0
    open_searches: frozenset[str] = frozenset()
    _trials: dict[tuple[str, str], Trial] = field(default_factory=dict)

    @classmethod
    def planned(cls, declared: Sequence[Declared], options: Options) -> Work:
        """Plan all studies, compact the results of a run that was killed, and find the finished cells."""
        work = cls(declared, make_plan(declared), Results(options.out), options)
        work.results.files.check_writable()
        tidy(work.results)
        work._plan_earlier_points()
        rename(work.results, work.plan.cells)
        finished = work.results.finished()
        tries = {} if options.retry else work.results.tries()
        work.skipped = frozenset(f for f, count in tries.items() if count >= MOST_TRIES and f not in finished)
        names = [d.study.name for d in declared if d not in work.guided]
        planned = dict.fromkeys(f for name in names for f in work.plan.cells_of[name])
        work.missing = [f for f in planned if f not in finished and f not in work.skipped]
        work.reused = len(finished & work.asked)
        work.open_searches = frozenset(d.study.name for d in work.guided if work._is_open(d.study, finished))
        return work

    @property
    def guided(self) -> list[Declared]:
        """The studies with a guided search."""
        return [declared for declared in self.declared if declared.study.search.is_guided]

    @property
    def asked(self) -> set[str]:
        """Fingerprints of all requested cells. A guided search has requested the cells that its trials reported on."""
        return {f for fingerprints in self.plan.cells_of.values() for f in fingerprints}

    @property
    def is_open(self) -> bool:
        """Whether anything has to be run."""
        return bool(self.missing or self.open_searches)

    def ledger(self, study: Study) -> Ledger:
        """Return the ledger of the study's trials below ``--out``."""
        return Ledger(self.results, study)

    def trial(self, declared: Declared, values: Mapping[str, Any], broker: BrokerHandle | None = None) -> Trial:
        """Return the trial of one point of a guided search; the first call plans the trial and informs the broker."""
        name, key = declared.study.name, point_key(values)
        if (name, key) not in self._trials:
            part = plan_point(declared, values)
            (self._trials[name, key],) = part.trials_of.pop(name)
            # The cells are counted when the trial reports on them, because a scheduler may stop the trial earlier.
            del part.cells_of[name]
            # The broker has all stages of the plan already, and the stage of a shard is large: it lists photographs.
            part.stages = {id_: stage for id_, stage in part.stages.items() if id_ not in self.plan.stages}
            self.plan.merge(part)
            self.run_in_driver(part.cells)
            if broker is not None:
                broker.learn(part)
        return self._trials[name, key]

    def run_in_driver(self, fingerprints: Iterable[str]) -> None:
        """Make the stages of these cells that only the driver can make, such as reading a folder of its machine."""
        ids = dict.fromkeys(id_ for f in fingerprints for id_ in self.plan.cells[f].inputs)
        executor = LocalExecutor(self.plan, Store(self.options.store_uri))
        for id_, stage in self.plan.closure(ids).items():
            if stage.takes == "driver":
                executor.make(id_)

    def count(self, study: Study, fingerprints: Sequence[str]) -> None:
        """Count these cells of a guided search as requested."""
        self.plan.cells_of[study.name] = list(dict.fromkeys([*self.plan.cells_of[study.name], *fingerprints]))

    def write_records(self) -> None:
        """Write the record of each study and its cells below ``--out``."""
        for declared in self.declared:
            write_record(declared.study, self.plan, self.results)

    def announce(self, console: Console) -> None:
        """Print how much of the work is finished and how much will be run."""
        for declared in self.guided:
            study = declared.study
            begun = len(self.ledger(study).read())
            console.print(
                f"{study.name}: a search of {_count_points(study)} points, {begun} of them begun", highlight=False
            )
        asked = self.asked
        skipped = len(self.skipped & asked)
        if not asked:
            return
        console.print(
            f"{len(asked)} cells of {len(self.declared)} studies: {self.reused} finished, "
            f"{len(self.missing)} to run"
            + f", {skipped} skipped after {MOST_TRIES} failures (--retry tries them)" * bool(skipped)
            + f"; {self._count_generators()} generators",
            highlight=False,
        )

    def _count_generators(self) -> int:
        return sum(stage.is_generator for stage in self.plan.stages.values())

    def _plan_earlier_points(self) -> None:
        """Plan the points that guided searches chose in earlier runs, and count the cells of their reports."""
        for declared in self.guided:
            for record in self.ledger(declared.study).read():
                if not record.error:
                    self.trial(declared, record.values)
                self.count(declared.study, [f for report in record.reports for f in report.fingerprints])

    def _is_open(self, study: Study, finished: set[str]) -> bool:
        """Return whether a guided search has points to choose, or reports with cells that have to be run."""
        records = self.ledger(study).read()
        ended = [record for record in records if record.state != "running"]
        reported = {f for record in records for report in record.reports for f in report.fingerprints}
        return len(ended) < _count_points(study) or bool(reported - finished - self.skipped)


def _count_points(study: Study) -> int:
    """Return the number of points that the search tries."""
    return study.search.trials if study.search.algorithm == "optuna" else len(points_of(study))
