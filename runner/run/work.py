"""What a run has to do: the cells that are not finished, and the points that searches have still to choose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console

from runner.executor.local import LocalExecutor
from runner.plan.plan import Plan, Trial, point_key
from runner.plan.planning import Declared, make_plan, plan_point
from runner.results.compaction import tidy
from runner.results.record import write_record
from runner.results.results import Results
from runner.results.trials import Ledger
from runner.run.options import Options
from runner.store.artifacts import Store
from runner.study.search import points_of
from runner.study.study import Study

if TYPE_CHECKING:
    from runner.cluster.handles import BrokerHandle

MOST_TRIES = 3
"""A cell that failed so often is left alone: it would fail for ever, and take its time each time."""


@dataclass
class Work:
    """The plan of a run, and what of it remains to be done.

    missing: cells known beforehand that are to run; those of guided searches come as their points are chosen.
    skipped: cells that failed too often.
    open_searches: names of guided searches that are not at their end.
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
        """Plan all studies, tidy up after a run that was killed, and look at what is finished."""
        work = cls(declared, make_plan(declared), Results(options.out), options)
        work.results.files.check_writable()
        tidy(work.results)
        work._recall()
        finished = work.results.finished()
        tries = {} if options.retry else work.results.tries()
        work.skipped = frozenset(f for f, tried in tries.items() if tried >= MOST_TRIES and f not in finished)
        known = {f: None for each in declared if each not in work.guided for f in work.plan.cells_of[each.study.name]}
        work.missing = [f for f in known if f not in finished and f not in work.skipped]
        work.reused = len(finished & work.asked)
        work.open_searches = frozenset(e.study.name for e in work.guided if work._is_open(e.study, finished))
        return work

    @property
    def guided(self) -> list[Declared]:
        """The searches that choose as they go."""
        return [each for each in self.declared if each.study.search.is_guided]

    @property
    def asked(self) -> set[str]:
        """All cells that have been asked for; of a guided search not those that it may never get to."""
        return {f for fingerprints in self.plan.cells_of.values() for f in fingerprints}

    @property
    def is_open(self) -> bool:
        """Whether anything is to be run."""
        return bool(self.missing or self.open_searches)

    def ledger(self, study: Study) -> Ledger:
        """The study's trials below ``--out``."""
        return Ledger(self.results, study)

    def trial(self, declared: Declared, values: Mapping[str, Any], broker: BrokerHandle | None = None) -> Trial:
        """One point of a guided search, planned when it is first asked for; then the broker learns of its cells."""
        name, key = declared.study.name, point_key(values)
        if (name, key) not in self._trials:
            part = plan_point(declared, values)
            (self._trials[name, key],) = part.trials_of.pop(name)
            # Those that report are counted, not those that a scheduler never lets run.
            del part.cells_of[name]
            # The broker knows the others, with the photographs of each category.
            part.stages = {id_: stage for id_, stage in part.stages.items() if id_ not in self.plan.stages}
            self.plan.merge(part)
            self.run_in_driver(part.cells)
            if broker is not None:
                broker.learn(part)
        return self._trials[name, key]

    def run_in_driver(self, fingerprints: Iterable[str]) -> None:
        """Make the stages of these cells that only this process can make, such as reading a folder of this machine."""
        ids = dict.fromkeys(id_ for f in fingerprints for id_ in self.plan.cells[f].inputs)
        executor = LocalExecutor(self.plan, Store(self.options.store_uri))
        for id_, stage in self.plan.closure(ids).items():
            if stage.takes == "driver":
                executor.make(id_)

    def count(self, study: Study, fingerprints: Sequence[str]) -> None:
        """These cells of a guided search have been asked for."""
        self.plan.cells_of[study.name] = list(dict.fromkeys([*self.plan.cells_of[study.name], *fingerprints]))

    def write_records(self) -> None:
        """Leave each study and its cells beside the rows."""
        for each in self.declared:
            write_record(each.study, self.plan, self.results)

    def announce(self, console: Console) -> None:
        """What is finished and what is to run."""
        for each in self.guided:
            begun = len(self.ledger(each.study).read())
            console.print(
                f"{each.study.name}: a search of {_wanted(each.study)} points, {begun} of them begun", highlight=False
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
        return sum(stage.trains for stage in self.plan.stages.values())

    def _recall(self) -> None:
        """Plan the points that guided searches have chosen in earlier runs."""
        for each in self.guided:
            for record in self.ledger(each.study).read():
                if not record.error:
                    self.trial(each, record.values)
                self.count(each.study, [f for report in record.reports for f in report.fingerprints])

    def _is_open(self, study: Study, finished: set[str]) -> bool:
        """Whether points are still to be chosen, or cells of the chosen ones to be run."""
        records = self.ledger(study).read()
        ended = [record for record in records if record.state != "running"]
        asked = {f for record in records for report in record.reports for f in report.fingerprints}
        return len(ended) < _wanted(study) or bool(asked - finished - self.skipped)


def _wanted(study: Study) -> int:
    """How many points the search tries."""
    return study.search.trials if study.search.algorithm == "optuna" else len(points_of(study))
