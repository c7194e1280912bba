"""Run studies: plan them, execute the unfinished cells, and record the run."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from rich.console import Console

from goodshot.components.data.layout import Finding
from goodshot.components.data.support import select_support
from goodshot.components.errors import BadInput, GoodshotError
from goodshot.components.prompts import note_on, object_for, open_wordnet
from goodshot.components.weights import forbid_downloads
from goodshot.runner.console.findings import print_findings
from goodshot.runner.data.catalogue import Category, read_catalogue
from goodshot.runner.data.config import DatasetConfig
from goodshot.runner.machine.needs import require_all
from goodshot.runner.plan.plan import Plan
from goodshot.runner.plan.planning import Declared, make_plan
from goodshot.runner.results.compaction import LAST_SECONDS, PATIENCE_SECONDS, tidy
from goodshot.runner.results.record import write_experiment
from goodshot.runner.results.results import Results
from goodshot.runner.run.options import Options, Run, Stopped
from goodshot.runner.run.run_record import RunRecord
from goodshot.runner.run.work import Work
from goodshot.runner.stages.costs import remember_costs, remember_memory
from goodshot.runner.store.files import Files
from goodshot.runner.study.experiment import Experiment
from goodshot.runner.study.search import extreme_points
from goodshot.runner.study.study import Study


def plan_studies(studies: Sequence[Study], options: Options) -> Plan:
    """Scan the data and plan the studies, guided searches with randomly drawn points. Writes nothing.

    Raises:
        BadInput: the first problem of the studies, their data or weights.
    """
    return make_plan(declare(studies, options), guided=True)


def declare(studies: Sequence[Study], options: Options) -> list[Declared]:
    """Scan the data of the studies. Writes nothing, except the demo photographs that an installed package contains.

    Raises:
        BadInput: the first problem of the studies, their data or weights.
    """
    forbid_downloads()
    require_all(studies)
    demo_root = options.local_folder / "photographs"
    if any(d.is_written_here for s in studies for d in (s.dataset, *s.sources)):
        Results(options.out).files.check_writable()
    catalogues: dict[str, dict[str, Category]] = {}

    def read(
        dataset: DatasetConfig, categories: tuple[str, ...], tested: bool, sides: tuple[int, ...] = ()
    ) -> dict[str, Category]:
        key = json.dumps([dataset.model_dump(), categories, tested, sides])
        if key not in catalogues:
            catalogues[key] = read_catalogue(dataset, categories, demo_root, tested, sides)
        return catalogues[key]

    declared = []
    for study in studies:
        source_datasets = {json.dumps(d.model_dump()): d for point in extreme_points(study) for d in point.sources}
        sources = [c for d in source_datasets.values() for c in read(d, (), False).values()]
        categories = read(study.dataset, study.categories, bool(study.sides), study.sides)
        declared.append(Declared(study, categories, sources))
    return declared


def print_notes(declared: Sequence[Declared], console: Console) -> None:
    """Print notes on each category's files, on words that WordNet lacks, and on the comparison of arms.

    For an object that WordNet lacks, the note states the source of its words. The notes on the comparison come from the
    cell kinds. A category of several studies is listed once.
    """
    findings: dict[tuple[str, str], dict[Finding, None]] = {}
    for category in (category for each in declared for category in each.categories.values()):
        findings.setdefault((category.name, category.shard), {}).update(dict.fromkeys(category.findings))
    for each in declared:
        for category, arm in itertools.product(each.categories.values(), each.study.own_arms):
            own = arm.findings(each.study, category)
            findings[category.name, category.shard].update(dict.fromkeys(own))
        for category, kind in itertools.product(each.categories.values(), each.study.own_kinds):
            own = kind.findings(each.study, category)
            findings[category.name, category.shard].update(dict.fromkeys(own))
    print_findings(console, [(name, found) for (name, _), found in findings.items()])
    notes = [note for each in declared for note in (*_notes_on_words(each), *_notes_on_arms(each))]
    for note in dict.fromkeys(notes):
        console.print(note, highlight=False, markup=False, soft_wrap=True)


def _notes_on_words(declared: Declared) -> Iterator[str]:
    study = declared.study
    if study.uses_text:
        wordnet = open_wordnet(study.prompt.wordnet)
        notes = (note_on(object_for(name, study.objects), study.prompt, wordnet) for name in declared.categories)
        yield from filter(None, notes)


def _notes_on_arms(declared: Declared) -> Iterator[str]:
    """Yield for each subject the note about the first category that has a note."""
    study, added = declared.study, sorted({variant.copies for variant in declared.study.variants()})
    originals = [
        len(select_support(category.train_ids, study.shots_of(name), 0))
        for name, category in declared.categories.items()
    ]
    for kind in study.own_kinds:
        for subject in kind.subjects(study):
            notes = (kind.note(subject, [count + copies for copies in added]) for count in dict.fromkeys(originals))
            yield from filter(None, [next(filter(None, notes), "")])


def run_studies(
    studies: Sequence[Study], options: Options, console: Console, experiment: Experiment | None = None
) -> tuple[Plan, Run]:
    """Execute every cell that is not finished; all studies share their stages.

    A study with more than one point runs through Ray Tune, with one trial for each point. Running the same studies
    again executes only the missing cells, and a search continues with the points that it has chosen.

    Args:
        experiment: the experiment of these studies, whose published numbers the report shows.

    Returns:
        The plan, and the counts of the run.

    Raises:
        BadInput: the first problem of the studies, their data or weights, or a search with Ray Tune and ``--local``.
    """
    began = time.perf_counter()
    declared = declare(studies, options)
    work = Work.planned(declared, options)
    results = work.results
    if options.local and work.open_searches:
        raise BadInput(f"study {min(work.open_searches)}: Ray Tune chooses the points of its search; leave out --local")
    work.write_records()
    if experiment is not None:
        write_experiment(experiment, studies, results)
    print_notes(declared, console)
    work.announce(console)
    run = Run(cells=len(work.asked), reused=work.reused, skipped=len(work.skipped & work.asked))
    record = RunRecord(results.files, [study.name for study in studies], run, began)
    has_ended = False
    try:
        if work.is_open:
            try:
                executed = _execute(work, options, console, record)
            except Stopped as stopped:
                run = stopped.run
                raise stopped.reason from None
            run = replace(executed, skipped=run.skipped, reused=work.reused, cells=len(work.asked))
        has_ended = True
    finally:
        run = record.end(run, has_ended)
        remember_costs(run.costs)
        remember_memory(Files(options.store_uri), run.memory)
        with suppress(GoodshotError):
            work.write_records()
        if reason := tidy(results, PATIENCE_SECONDS) if has_ended else tidy(results, seconds=LAST_SECONDS):
            console.print(
                f"some finished cells are not in the Parquet tables yet ({reason}); the next run moves them",
                highlight=False,
            )
    return work.plan, run


def _execute(work: Work, options: Options, console: Console, record: RunRecord) -> Run:
    """Run the remaining work, on Ray or in this process. Ray is imported only here, so not for finished studies."""
    if options.local:
        from goodshot.runner.run.locally import execute_locally

        return execute_locally(work, options, console, record)
    from goodshot.runner.run.driver import execute

    return execute(work, options, console, record)
