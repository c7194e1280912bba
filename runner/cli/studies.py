"""Commands that run studies and show their results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from goodshot.components.errors import BadInput, GoodshotError
from goodshot.runner.cli.options import (
    NO_WORDS,
    Address,
    CPUs,
    InsecureLocal,
    Named,
    NoWords,
    Oracle,
    Out,
    Quick,
    Roots,
    Settings,
    StoreURI,
    stdout,
)

if TYPE_CHECKING:
    from rich.console import Console

    from goodshot.runner.plan.plan import Plan
    from goodshot.runner.results.results import Results
    from goodshot.runner.run.options import Options, Run
    from goodshot.runner.study.experiment import Experiment
    from goodshot.runner.study.study import Study


def demo(out: Out = "runs/demo", store: StoreURI = None, cpus: CPUs = None) -> None:
    """Run the whole pipeline on photographs that ship with the installation, offline, in minutes."""
    from goodshot.runner.named import load_studies
    from goodshot.runner.run.options import Options

    address = _joined(out, store, None)
    experiment, declared = load_studies("demo")
    _run(declared, Options(out, store, address, cpus), experiment)


def sweep(
    study: Named,
    out: Out,
    settings: Settings = None,
    root: Roots = None,
    oracle: Oracle = False,
    no_words: NoWords = False,
    store: StoreURI = None,
    address: Address = None,
    insecure_local: InsecureLocal = False,
    cpus: CPUs = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try cells again that have failed three times.")] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="End at the first failed cell, for a mistake that all cells share.")
    ] = False,
    quick: Quick = False,
    local: Annotated[
        bool,
        typer.Option(
            "--local",
            help="Run in this process, on the CPU and without Ray: for small studies. No other run may use the same "
            "--out or --store meanwhile.",
        ),
    ] = False,
) -> None:
    """Run a study or an experiment: every cell that is not finished yet. The same command again continues."""
    from goodshot.components.weights import forbid_downloads
    from goodshot.runner.machine.needs import require_all
    from goodshot.runner.named import load_studies

    if local and (address or cpus):
        raise BadInput("--local: runs in this process alone; leave out --address and --cpus")
    address = _joined(out, store, "local" if local else address)
    experiment, declared = load_studies(study, _settings(settings, oracle, no_words), quick, root or [])
    # Checked before imports that take half a second, so that a missing weight is reported at once.
    forbid_downloads()
    require_all(declared)
    from goodshot.runner.run.options import Options

    _run(declared, Options(out, store, address, cpus, retry, fail_fast, local, insecure_local), experiment)


def plan(
    study: Named,
    out: Annotated[
        str | None, typer.Option(help="The study's --out: cells that are finished there cost nothing.", metavar="URI")
    ] = None,
    settings: Settings = None,
    root: Roots = None,
    oracle: Oracle = False,
    no_words: NoWords = False,
    store: StoreURI = None,
    cpus: Annotated[int | None, typer.Option(help="CPUs of the planned run (default: this machine's).", min=1)] = None,
    gpus: Annotated[int | None, typer.Option(help="GPUs of the planned run (default: this machine's).", min=0)] = None,
    quick: Quick = False,
) -> None:
    """Show a study's cells and stages, how many are shared and finished, and the remaining cost; runs nothing."""
    from goodshot.components.weights import cache_dir
    from goodshot.runner.cluster.connection import usable_cpus, usable_gpus
    from goodshot.runner.console.plan import print_plan
    from goodshot.runner.named import load_studies
    from goodshot.runner.plan.planning import make_plan
    from goodshot.runner.plan.pricing import price
    from goodshot.runner.plan.scheduling import Shares
    from goodshot.runner.results.results import Results
    from goodshot.runner.run.execute import declare, print_notes
    from goodshot.runner.run.options import Options
    from goodshot.runner.stages.costs import read_costs, read_memory
    from goodshot.runner.store.artifacts import Store
    from goodshot.runner.store.files import Files

    _, declared = load_studies(study, _settings(settings, oracle, no_words), quick, root or [])
    options = Options(out or str(cache_dir() / "plan"), store)
    data = declare(declared, options)
    planned = make_plan(data, guided=True)
    finished = Results(options.out).finished() & planned.cells.keys() if out else set()
    resources = {"CPU": float(cpus or usable_cpus()), "GPU": float(usable_gpus() if gpus is None else gpus)}
    shares = Shares([resources], read_memory(Files(options.store_uri)))
    prices = price(planned, Store(options.store_uri), finished, shares, read_costs())
    console = stdout()
    print_notes(data, console)
    for declared_study in declared:
        if declared_study.search.is_guided:
            console.print(
                f"{declared_study.name} chooses its points during the run: priced by as many random points",
                highlight=False,
            )
    free = Files(options.store_uri).free_bytes()
    print_plan(console, planned, prices, len(finished), resources["CPU"], resources["GPU"], free)


def studies(
    quick: Annotated[
        bool, typer.Option("--quick", help="Only the names of experiments with a quick flavour, one in a line.")
    ] = False,
) -> None:
    """List the experiments with the paper's table or figure that each repeats, and their studies."""
    from goodshot.runner.named import experiment_names

    if quick:
        typer.echo("\n".join(name for name, experiment in experiment_names().items() if experiment.quick))
        return
    for name, experiment in experiment_names().items():
        declared = experiment.studies()
        item = f"{experiment.item}: " if experiment.item else ""
        flavours = ", --quick" if experiment.quick else ""
        count = f"{len(declared)} {'study' if len(declared) == 1 else 'studies'}"
        typer.echo(f"{name:<20} {item}{experiment.title} ({count}{flavours})")
        for study in declared:
            if study.name != name or len(declared) > 1:
                typer.echo(f"  {study.name:<18} {study.title}")


def report(
    out: Annotated[
        list[str], typer.Argument(help="One or several folders or URIs that 'demo' or 'sweep' wrote.", metavar="DIR...")
    ],
    html: Annotated[
        str | None, typer.Option("--html", help="The page's file (default: OUT/report.html).", metavar="FILE")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Write the page again whenever rows change, until the study is complete.")
    ] = False,
    gpu_hour: Annotated[
        float | None, typer.Option("--price-gpu-hour", help="The price of an hour of one GPU, for the cost.", min=0)
    ] = None,
    cpu_hour: Annotated[
        float | None, typer.Option("--price-cpu-hour", help="The price of an hour of one CPU, for the cost.", min=0)
    ] = None,
    store: StoreURI = None,
) -> None:
    """Write the results of a study, or of several, as one self-contained HTML page."""
    from goodshot.runner.report import write_report
    from goodshot.runner.report.watching import watch_report
    from goodshot.runner.results.prices import Prices
    from goodshot.runner.run.options import Options

    outputs, prices = [Options(each, store) for each in out], Prices(gpu_hour, cpu_hour)
    if watch:
        watch_report(*outputs, file=html, prices=prices, tell=typer.echo)
    else:
        typer.echo(write_report(*outputs, file=html, prices=prices))


def export(
    out: Annotated[str, typer.Argument(help="A folder or URI that 'demo' or 'sweep' wrote.", metavar="OUT")],
    to: Annotated[str, typer.Option(help="Folder or URI for the files; index.md in it lists them.", metavar="DIR")],
    formats: Annotated[
        str, typer.Option(help="Formats of tables (md, tex, csv) and of charts (pdf, png, svg).", metavar="LIST")
    ] = "md,tex,csv,pdf,png,svg",
    study: Annotated[str | None, typer.Option(help="Only this study (default: all).", metavar="NAME")] = None,
    store: StoreURI = None,
) -> None:
    """Write every table and chart of the report as files for a paper: Markdown, LaTeX, CSV, PDF, PNG, SVG."""
    from goodshot.runner.export import export as write_files
    from goodshot.runner.export import formats_of
    from goodshot.runner.report.summary import counted
    from goodshot.runner.run.options import Options

    exported = write_files(Options(out, store), to, formats_of(formats), study)
    typer.echo(f"written: {counted(len(exported.names), 'file')}, listed in {exported.index}")
    if exported.left:
        count = counted(len(exported.left), "file")
        typer.echo(f"left as an earlier export wrote it: {count}: {', '.join(exported.left[:5])}")


def compare(
    first: Annotated[str, typer.Argument(help="A folder or URI that 'demo' or 'sweep' wrote.", metavar="OUT1")],
    second: Annotated[str, typer.Argument(help="Another one.", metavar="OUT2")],
    json: Annotated[str | None, typer.Option(help="File for all differences.", metavar="FILE")] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Exit with 1 if a result differs beyond its interval, or one cell has different numbers.",
        ),
    ] = False,
) -> None:
    """Show how two outputs differ: in configuration, in cells, and in results by more than their interval."""
    from goodshot.runner.console.differences import print_differences
    from goodshot.runner.differences import differences_between

    found = differences_between(first, second)
    print_differences(stdout(), found)
    if json:
        _write_json(json, found.as_json())
    if strict and (found.beyond or found.contradictions):
        raise GoodshotError(
            f"{len(found.beyond)} results differ beyond their interval, and {len(found.contradictions)} cells with one "
            "fingerprint have different numbers, as listed above"
        )


def _write_json(file: str, values: Mapping[str, Any]) -> None:
    import json
    from pathlib import Path

    from goodshot.runner.store.files import Files, absolute

    path = Path(file).expanduser()
    if path.is_dir():
        raise BadInput(f"--json {file}: is a folder; give a file's name")
    text = json.dumps(values, indent=1, ensure_ascii=False)
    Files(absolute(str(path.parent))).write(path.name, f"{text}\n".encode())
    typer.echo(f"written: {path}")


def verify(
    out: Annotated[str, typer.Argument(help="A folder or URI that 'demo' or 'sweep' wrote.", metavar="DIR")],
    store: StoreURI = None,
    forget: Annotated[
        bool,
        typer.Option("--forget", help="Delete rows that fail the check; the next run computes them again."),
    ] = False,
) -> None:
    """Check rows against their scores, and artifacts against their committed hashes; changes nothing by itself."""
    from goodshot.runner.report.summary import counted
    from goodshot.runner.results.results import Results
    from goodshot.runner.results.verifying import verify as problems_of
    from goodshot.runner.run.options import Options
    from goodshot.runner.store.artifacts import Store

    options = Options(out, store)
    results = Results(options.out_uri)
    if not results.finished():
        raise BadInput(f"{out}: holds no finished cell; give the --out of a study")
    forgotten = _forget(results) if forget else set()
    problems = 0
    for problem in problems_of(results, Store(options.store_uri), forgotten):
        typer.echo(str(problem))
        problems += 1
    rows = len(results.finished())
    if problems:
        found = f"{counted(problems, 'problem')} in {counted(rows, 'row')}"
        raise GoodshotError(f"{found} and their artifacts, listed above")
    typer.echo(f"{rows} rows agree with their scores, and their artifacts with what was committed")


def _forget(results: Results) -> set[str]:
    """Delete the rows that fail the check, print a line for each, and return their fingerprints."""
    from goodshot.runner.results.compaction import PATIENCE_SECONDS, compacting
    from goodshot.runner.results.compaction import forget as forget_rows
    from goodshot.runner.results.verifying import verify_rows

    with compacting(results, PATIENCE_SECONDS) as is_leased:
        if not is_leased:
            raise GoodshotError(f"{results.files.shown}: another process is moving rows there; run the command again")
        problems = list(verify_rows(results))
        wrong = {str(problem.fingerprint) for problem in problems}
        forget_rows(results, wrong)
    for problem in problems:
        typer.echo(f"{problem.where}: {problem.what}")
    if wrong:
        typer.echo(f"{len(wrong)} rows are deleted; the study's own command computes them again")
    return wrong


def _settings(settings: Sequence[str] | None, oracle: bool, no_words: bool) -> list[str]:
    """Return the settings of ``--set`` and of the options that stand for one."""
    return [*(settings or []), *(["oracle=true"] if oracle else []), *([NO_WORDS] if no_words else [])]


def _joined(out: str, store: str | None, address: str | None) -> str | None:
    """Return the address of the cluster to join. Refuses addresses and folders that the run cannot use."""
    from goodshot.runner.cluster.address import joined_address, require_lasting_place

    require_lasting_place("--out", out)
    require_lasting_place("--store", store)
    return joined_address(address)


def _run(studies: Sequence[Study], options: Options, experiment: Experiment | None = None) -> None:
    from goodshot.runner.cluster.connection import code_of_interrupt, take_sigterm_as_ctrl_c
    from goodshot.runner.run.execute import run_studies

    console = stdout()
    take_sigterm_as_ctrl_c()
    try:
        plan, run = run_studies(studies, options, console, experiment)
    except KeyboardInterrupt:
        console.print("stopped; finished cells are kept, the same command continues", highlight=False)
        raise typer.Exit(code_of_interrupt()) from None
    _conclude(studies, plan, run, options, console)


def _print_tracking(console: Console, run: Run, options: Options) -> None:
    """Print which W&B runs were not sent or not written, and why."""
    lines = []
    if run.unreachable:
        sync = f"wandb sync {options.local_folder / 'wandb'}/offline-run-* sends them"
        lines.append(f"W&B could not be reached ({run.unreachable}): its runs are offline; {sync}")
    if run.untracked:
        lines.append(f"{run.untracked} W&B runs could not be written ({run.tracking_error}); the results are complete")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _conclude(studies: Sequence[Study], plan: Plan, run: Run, options: Options, console: Console) -> None:
    """Print the tables, the training steps, the report's location and the failures of a run.

    Raises:
        GoodshotError: cells failed or were skipped.
    """
    from goodshot.runner.console.durations import duration
    from goodshot.runner.console.terminal import (
        print_failures,
        print_restarts,
        print_search,
        print_sharing,
        print_study,
    )
    from goodshot.runner.report import write_report
    from goodshot.runner.results.renaming import under_planned_names
    from goodshot.runner.results.results import Results
    from goodshot.runner.results.sharing import sharing
    from goodshot.runner.results.trials import Ledger, chosen
    from goodshot.runner.run.work import MOST_TRIES
    from goodshot.runner.store.files import below
    from goodshot.runner.study.search import is_search

    results = Results(options.out)
    rows = under_planned_names(results.rows(), plan.cells)
    for study in studies:
        fingerprints = plan.cells_of[study.name]
        console.print()
        ledger = Ledger(results, study)
        records = ledger.read() if len(study.points) > 1 or is_search(study) else []
        best = chosen(records)
        if is_search(study) and best is not None and best.best is not None:
            # Rows of different points may have equal values in all columns of a table.
            fingerprints = list(best.best.fingerprints)
        print_study(console, study.title or study.name, [rows[f] for f in fingerprints if f in rows])
        if best is not None:
            print_search(console, study, records, ledger.write_chosen(best))
        if records and any(arm.has_trace for arm in study.own_arms):
            print_sharing(console, sharing(study, plan, run.generator_steps, results))
    stages = ", ".join(f"{count} {name}" for name, count in sorted(run.executed.items())) or "none"
    console.print(f"\nstages executed: {run.stages} ({stages}) in {duration(run.seconds)}", highlight=False)
    print_restarts(console, run.retries, run.restarts)
    _print_tracking(console, run, options)
    console.print(f"report: {write_report(options)}", highlight=False)
    planned = {f for fingerprints in plan.cells_of.values() for f in fingerprints}
    print_failures(console, [row for row in results.read("failures").to_pylist() if row["fingerprint"] in planned])
    logs = below(options.out, "logs")
    if run.halted:
        raise GoodshotError(f"ended at the first failed cell (--fail-fast); its error and traceback are in {logs}")
    if run.failed:
        raise GoodshotError(
            f"{run.failed} of {run.cells} cells failed; their errors and tracebacks are in {logs}, "
            "the same command tries them again"
        )
    if run.skipped:
        raise GoodshotError(
            f"{run.skipped} of {run.cells} cells are skipped, having failed {MOST_TRIES} times; their errors and "
            f"tracebacks are in {logs}, --retry tries them once more"
        )
