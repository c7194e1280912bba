"""The command line. Heavy imports stay inside the commands: ``goodshot --help`` answers at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from components.errors import BadInput, GoodshotError

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from runner.generate import Photographs
    from runner.plan import Plan
    from runner.run import Options, Run
    from runner.study import Study

app = typer.Typer(
    name="goodshot",
    help="Generate good product images from one photograph, and measure what they are worth to an anomaly detector.",
    epilog="Add --debug to any command for the traceback of an error.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# A log file has no width of its own; this one fits the tables.
PLAIN_WIDTH = 200

Out = Annotated[str, typer.Option(help="Folder or URI for results; the same again continues.", metavar="URI")]
StoreURI = Annotated[
    str | None, typer.Option(help="Where artifacts that studies share go (default: OUT/store).", metavar="URI")
]
Address = Annotated[str | None, typer.Option(help="A running Ray cluster (default: this machine alone).")]
CPUs = Annotated[int | None, typer.Option(help="CPUs to use on this machine (default: all).", min=1)]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Override a field of the study; repeatable.", metavar="KEY=VALUE")
]

Oracle = Annotated[
    bool, typer.Option("--oracle", help="Let a test metric be the objective; marks every row of the study.")
]


@app.command()
def demo(out: Out = "runs/demo", store: StoreURI = None, cpus: CPUs = None) -> None:
    """The whole pipeline on real photographs that come with the installation, offline, in minutes."""
    from experiments.demo import demo as demo_study
    from experiments.demo import demo_sweep
    from runner.run import Options

    _run([demo_study(), demo_sweep()], Options(out, store, None, cpus))


@app.command()
def sweep(
    study: Annotated[str, typer.Argument(help="A study's name (see 'goodshot studies') or a YAML file.")],
    out: Out,
    settings: Settings = None,
    oracle: Oracle = False,
    store: StoreURI = None,
    address: Address = None,
    cpus: CPUs = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try cells once more that have failed three times.")] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="End at the first failed cell: for a mistake that all of them share.")
    ] = False,
) -> None:
    """Run a study: every cell that is not finished yet. The same command again continues."""
    from components.weights import forbid_downloads
    from runner.needs import require_all
    from runner.settings import load_study

    declared = load_study(study, [*(settings or []), *(["oracle=true"] if oracle else [])])
    # Before half a second of imports: what is missing is said at once.
    forbid_downloads()
    require_all([declared])
    from runner.run import Options

    _run([declared], Options(out, store, address, cpus, retry, fail_fast))


@app.command()
def plan(
    study: Annotated[str, typer.Argument(help="A study's name (see 'goodshot studies') or a YAML file.")],
    out: Annotated[
        str | None, typer.Option(help="Where it runs or ran: what is finished there is not counted.", metavar="URI")
    ] = None,
    settings: Settings = None,
    oracle: Oracle = False,
    store: StoreURI = None,
    cpus: Annotated[float | None, typer.Option(help="CPUs that it will have (default: this machine's).")] = None,
    gpus: Annotated[float | None, typer.Option(help="GPUs that it will have (default: this machine's).")] = None,
) -> None:
    """What a study is made of, what is shared and done already, and what the rest takes; runs nothing."""
    from rich.console import Console

    from components.weights import cache_dir
    from runner.cluster import usable_cpus, usable_gpus
    from runner.costs import read_costs
    from runner.execute import plan_studies
    from runner.pricing import price, print_plan
    from runner.results import Results
    from runner.run import Options
    from runner.settings import load_study
    from runner.store import Store

    declared = load_study(study, [*(settings or []), *(["oracle=true"] if oracle else [])])
    options = Options(out or str(cache_dir() / "plan"), store)
    planned = plan_studies([declared], options)
    finished = Results(options.out).finished() & planned.cells.keys() if out else set()
    prices = price(planned, Store(options.store_uri), finished, declared.resources, read_costs())
    console = Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH)
    with_gpus = usable_gpus() if gpus is None else gpus
    print_plan(console, planned, prices, len(finished), cpus or usable_cpus(), with_gpus)


@app.command()
def generate(
    images: Annotated[
        str, typer.Option(help="Folder with photographs of good products; one is enough.", metavar="DIR")
    ],
    object_name: Annotated[str, typer.Option("--object", help="What they show: a noun that WordNet knows.")],
    out: Annotated[str, typer.Option(help="Folder for the images; the same again continues.", metavar="DIR")],
    copies: Annotated[int | None, typer.Option(help="Images to make (default: 20).", min=1)] = None,
    iterations: Annotated[
        int | None, typer.Option(help="L, a multiple of 10: the best set of so many (default: 60).", min=1)
    ] = None,
    vq_weight: Annotated[float | None, typer.Option(help="λ: weight of the VQGAN's loss (default: 1).", min=0)] = None,
    seed: Annotated[int, typer.Option(help="Drives training and sampling.", min=0)] = 0,
    settings: Settings = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Only show what the generator would learn from: OUT/preview.png.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda (default: cuda where there is one).")] = None,
    workers: Annotated[
        int, typer.Option(help="Processes, or GPUs, that share each step's photographs; pays for many of them.", min=1)
    ] = 1,
) -> None:
    """Make good images from your own photographs: no dataset, no cluster, one command."""
    from pathlib import Path

    from runner.generate import Photographs, check_settings
    from runner.generate import preview as write_preview
    from runner.settings import load_study

    point = {"copies": copies, "iterations": iterations, "vq_weight": vq_weight, "support_seeds": seed}
    given = [f"{name}={value}" for name, value in point.items() if value is not None]
    check_settings(settings or [])
    study = load_study("generate", [*given, *(settings or [])])
    photographs = Photographs(folder=Path(images).expanduser(), object_name=object_name)
    folder = Path(out).expanduser()
    if note := photographs.passed_over():
        typer.echo(note, err=True)
    if preview:
        typer.echo(write_preview(photographs, folder, study.augmentation, seed))
        return
    _generate(photographs, study, folder, device, workers)


@app.command()
def doctor(
    study: Annotated[str | None, typer.Argument(help="A study, to see what it needs (default: everything).")] = None,
    settings: Settings = None,
) -> None:
    """What is on this machine and what is missing, each with its remedy; starts and downloads nothing."""
    from rich.console import Console

    from runner.doctor import examine, print_findings
    from runner.settings import load_study

    declared = load_study(study, settings or []) if study else None
    console = Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH)
    missing = print_findings(console, examine(declared))
    if missing and study:
        raise GoodshotError(f"study {study}: {missing} things are missing, listed above with their remedies")


@app.command()
def prompts(
    object_name: Annotated[str, typer.Argument(metavar="OBJECT", help="A noun that WordNet knows.")],
    images: Annotated[
        str | None, typer.Option(help="Folder with photographs of it, or one: ranks the prompts.", metavar="DIR")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="What compares texts and images (default: conse-lite0-minilm).", metavar="NAME")
    ] = None,
    hops: Annotated[int | None, typer.Option(help="Relations to follow (default: 1).", min=1, max=3)] = None,
    relation: Annotated[
        list[str] | None, typer.Option(help="Only this one, such as synonyms or hyponyms; repeatable.")
    ] = None,
    sense: Annotated[
        list[str] | None, typer.Option(help="Only this meaning, such as nut.n.03; repeatable.", metavar="NAME")
    ] = None,
    senses: Annotated[bool, typer.Option("--senses", help="List the meanings by their names, and end.")] = False,
    template: Annotated[
        str | None, typer.Option(help="Holds {object} and {word} (default: 'a {object} with {word}').")
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="Stage 1's L2 distance (default: 0.5).")] = None,
    keep: Annotated[
        str | None, typer.Option(help="What stage 1 keeps: farther (the paper's) or nearer prompts.")
    ] = None,
    wordnet: Annotated[
        str | None, typer.Option(help="auto, nltk, debian or extract (default: auto).", metavar="SOURCE")
    ] = None,
    top: Annotated[int, typer.Option(help="Prompts to show; 0 shows all.", min=0)] = 20,
    json: Annotated[str | None, typer.Option(help="Write the whole ranking there.", metavar="FILE")] = None,
    chart: Annotated[str | None, typer.Option(help="Draw the ranking there.", metavar="FILE.svg")] = None,
) -> None:
    """The prompts that WordNet gives an object, ranked against photographs of it if there are some."""
    from functools import partial
    from pathlib import Path

    from rich.console import Console

    from components.prompts import open_wordnet
    from runner import prompts as ranked

    console = Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH)
    folder, json_file, chart_file = (Path(p).expanduser() if p else None for p in (images, json, chart))
    ranked.check_files(folder, json_file, chart_file)
    fields = {"hops": hops, "relations": relation, "senses": sense, "template": template}
    config = ranked.prompt_config(**fields, threshold=threshold, keep=keep, wordnet=wordnet)
    opened = open_wordnet(config.wordnet)
    asks = sys.stdin.isatty() and sys.stdout.isatty()
    name = ranked.known(object_name, opened, partial(ranked.pick, console=console) if asks else None)
    if senses:
        ranked.print_senses(console, name, opened)
        return
    words = ranked.words_of(name, config, opened)
    if folder is None:
        ranked.print_words(console, words, top)
        return
    ranking, photographs = ranked.rank_photographs(words, folder, encoder or "conse-lite0-minilm", config)
    ranked.print_ranking(console, ranking, words, photographs, top)
    ranked.write_files(ranking, folder.name, json_file, chart_file)
    for written in filter(None, (json_file, chart_file)):
        typer.echo(f"written: {written}")


@app.command()
def fetch(
    what: Annotated[
        str, typer.Argument(help="A study, a weight ('goodshot doctor' lists them), or mvtec_ad, mvtec_loco, btad.")
    ],
    root: Annotated[
        str | None, typer.Option(help="Where a dataset's category folders go; the same again continues.", metavar="DIR")
    ] = None,
    archive: Annotated[
        str | None, typer.Option(help="The publisher's archive, if you have downloaded it by hand.", metavar="FILE")
    ] = None,
    keep_archive: Annotated[bool, typer.Option(help="Keep the downloaded archive in DIR/.downloads.")] = False,
    optional: Annotated[bool, typer.Option("--optional", help="A study's optional weights too.")] = False,
    settings: Settings = None,
) -> None:
    """Download once, into caches that nodes share: size and licence shown, hash verified, resumable."""
    from pathlib import Path

    from runner.fetching import Wanted
    from runner.fetching import fetch as bring

    wanted = Wanted(
        Path(root).expanduser() if root else None,
        Path(archive).expanduser() if archive else None,
        keep_archive,
        optional,
        settings or [],
    )
    try:
        bring(what, wanted, typer.echo)
    except KeyboardInterrupt:
        typer.echo("stopped; what has arrived is kept, the same command continues")
        raise typer.Exit(130) from None


@app.command()
def shard(
    dataset: Annotated[str, typer.Argument(help="demo, mvtec_ad, mvtec_loco, btad or folder.")],
    root: Annotated[str, typer.Option(help="The folder that holds the category folders.", metavar="DIR")],
    out: Annotated[str, typer.Option(help="Folder or URI for the shards; the same again continues.", metavar="URI")],
    category: Annotated[list[str] | None, typer.Option(help="Only this category; repeatable.")] = None,
    strict: Annotated[bool, typer.Option(help="Fail on any finding, instead of leaving the file out.")] = False,
    resolution: Annotated[
        int | None, typer.Option(help="Store images as squares of this side (default: as they are).", min=8, max=4096)
    ] = None,
) -> None:
    """Verify a dataset, name everything wrong with it, and write it as Arrow shards with a manifest."""
    from pathlib import Path

    from runner.sharding import verified, write_shards

    report = verified(dataset, Path(root).expanduser(), category or ())
    for finding in report.findings:
        typer.echo(f"{finding.kind}: {finding}")
    if strict and report.findings:
        raise BadInput(f"{len(report.findings)} findings, listed above; correct them or leave out --strict")
    write_shards(dataset, report, out, resolution, typer.echo)


@app.command()
def studies() -> None:
    """The studies in experiments/, with what they are for."""
    from runner.settings import study_names

    for name, declare in study_names().items():
        summary = (declare.__doc__ or "").strip().splitlines()[0]
        typer.echo(f"{name:<20} {summary}")


@app.command()
def report(
    out: Annotated[str, typer.Argument(help="A folder or URI that 'demo' or 'sweep' wrote.", metavar="DIR")],
    store: StoreURI = None,
) -> None:
    """One self-contained HTML page of a study's results: OUT/report.html."""
    from runner.report import write_report
    from runner.run import Options

    typer.echo(write_report(Options(out, store)))


@app.command()
def verify(
    out: Annotated[str, typer.Argument(help="A folder or URI that 'demo' or 'sweep' wrote.", metavar="DIR")],
    store: StoreURI = None,
) -> None:
    """Whether rows are what their scores say, and artifacts what was committed; changes nothing."""
    from runner.results import Results
    from runner.run import Options
    from runner.store import Store
    from runner.verifying import verify as problems_of

    options = Options(out, store)
    results = Results(options.out_uri)
    if not (rows := len(results.finished())):
        raise BadInput(f"{out}: holds no finished cell; give the --out of a study")
    problems = 0
    for problem in problems_of(results, Store(options.store_uri)):
        typer.echo(str(problem))
        problems += 1
    if problems:
        raise GoodshotError(f"{problems} problems in {rows} rows and what they stand on, listed above")
    typer.echo(f"{rows} rows agree with their scores, and what they stand on is as it was committed")


@app.command()
def gc(
    store: Annotated[str, typer.Argument(help="A store: --store of a study, or OUT/store.", metavar="URI")],
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="States of trainings too: to go on they start again.")
    ] = False,
    hours: Annotated[float, typer.Option(help="Leave alone what is younger: it may be under way.", min=0)] = 24,
    yes: Annotated[bool, typer.Option("--yes", help="Delete it; without, it is only listed.")] = False,
) -> None:
    """What a store holds that nothing needs: left by killed processes, or states of trainings."""
    from datetime import timedelta

    from components.download import readable
    from runner.files import Files, absolute
    from runner.retention import remove, superfluous

    files = Files(absolute(store))
    total = 0
    for found in superfluous(files, timedelta(hours=hours), checkpoints):
        typer.echo(f"{readable(found.size)} in {len(found.names)} files {found.why}" + " are deleted" * yes)
        total += found.size
        if yes:
            remove(files, found)
    if not total:
        typer.echo("nothing that may go" + " is that old" * (hours > 0))
    elif not yes:
        typer.echo(f"{readable(total)} in all; --yes deletes it")


def _generate(photographs: Photographs, study: Study, folder: Path, device: str | None, workers: int) -> None:
    """Train with a bar, then say what was made."""
    import torch
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from components.weights import forbid_downloads
    from runner.generate import generate as make
    from runner.progress import duration

    forbid_downloads()
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if chosen not in ("cpu", "cuda"):
        raise BadInput(f"--device {chosen}: choose cpu or cuda")
    if chosen == "cuda" and not torch.cuda.is_available():
        raise BadInput("--device cuda: this machine has none that torch can use; leave it out")
    console = Console()
    together: AbstractContextManager[object] = nullcontext()
    if workers > 1:
        from runner.cluster import cluster

        if chosen == "cuda" and workers > torch.cuda.device_count():
            raise BadInput(f"--workers {workers}: this machine has {torch.cuda.device_count()} GPUs; use fewer")
        together = cluster(None, workers + 1)
    try:
        with together, Progress(console=console, disable=not console.is_terminal) as bars:
            task = bars.add_task("training", total=None)
            made = make(
                photographs,
                study,
                folder,
                chosen,
                lambda done, total: bars.update(task, completed=done, total=total),
                workers,
            )
    except KeyboardInterrupt:
        typer.echo("stopped; the same command continues")
        raise typer.Exit(130) from None
    table = Table(title=f"{len(made.images)} images, against the photographs", title_justify="left")
    for name in made.quality:
        table.add_column(name.replace("_", " ", 1) if name.startswith("diversity") else name, justify="right")
    table.add_row(*(f"{value:.3g}" for value in made.quality.values()))
    console.print(table)
    console.print(
        f"iteration {made.iteration}, the most similar to “{made.prompt}” ({made.similarity:.3f})"
        if study.select[0] == "text"
        else f"iteration {made.iteration}, the last",
        highlight=False,
    )
    console.print(f"images: {made.folder}\nsheet:  {made.sheet}\nin {duration(made.seconds)}", highlight=False)


def _run(studies: Sequence[Study], options: Options) -> None:
    from rich.console import Console

    from runner.execute import run_studies

    console = Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH)
    try:
        plan, run = run_studies(studies, options, console)
    except KeyboardInterrupt:
        console.print("stopped; finished cells are kept, the same command continues", highlight=False)
        raise typer.Exit(130) from None
    _conclude(studies, plan, run, options, console)


def _conclude(studies: Sequence[Study], plan: Plan, run: Run, options: Options, console: Console) -> None:
    """Print the tables, the account of shared work and where the report is."""
    from runner.execute import sharing
    from runner.files import below
    from runner.progress import duration
    from runner.report import write_report
    from runner.results import Results
    from runner.search import is_search
    from runner.terminal import print_search, print_sharing, print_study
    from runner.trials import Ledger, chosen
    from runner.work import MOST_TRIES

    results = Results(options.out)
    rows = results.rows()
    for study in studies:
        fingerprints = plan.cells_of[study.name]
        console.print()
        ledger = Ledger(results, study)
        records = ledger.read() if len(study.points) > 1 or is_search(study) else []
        best = chosen(records)
        if is_search(study) and best is not None and best.best is not None:
            # Rows of different points may differ in no column of a table.
            fingerprints = list(best.best.fingerprints)
        print_study(console, study.title or study.name, [rows[f] for f in fingerprints if f in rows])
        if best is not None:
            print_search(console, study, records, ledger.write_chosen(best))
        if records and "generated" in study.arms:
            print_sharing(console, sharing(study, plan, run, options.out))
    stages = ", ".join(f"{count} {name}" for name, count in sorted(run.executed.items())) or "none"
    console.print(f"\nstages executed: {run.stages} ({stages}) in {duration(run.seconds)}", highlight=False)
    if run.untracked:
        console.print(
            f"{run.untracked} W&B runs could not be written ({run.tracking_error}); the results are complete",
            highlight=False,
        )
    console.print(f"report: {write_report(options)}", highlight=False)
    where = below(options.out, "failures")
    if run.halted:
        raise GoodshotError(f"ended at the first failed cell (--fail-fast); its error and log are in {where}")
    if run.failed:
        raise GoodshotError(
            f"{run.failed} of {run.cells} cells failed; their errors and logs are in {where}, "
            "the same command tries them again"
        )
    if run.left_alone:
        raise GoodshotError(
            f"{run.left_alone} of {run.cells} cells are left alone, having failed {MOST_TRIES} times; their errors and "
            f"logs are in {where}, --retry tries them once more"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point: errors are one line on stderr; exit code 2 for bad input, 1 for failure."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        code = app([a for a in given if a != "--debug"], standalone_mode=False)
        return int(code or 0)
    except typer.Abort:
        return 130
    except GoodshotError as error:
        if debug:
            raise
        # Ray puts the traceback of the process that failed into the text; the cause is the line itself.
        return _complain(str(getattr(error, "cause", error)), 2 if isinstance(error, BadInput) else 1)
    except Exception as error:
        # Typer brings its own copy of click, whose usage errors have no public name there.
        if hasattr(error, "format_message"):
            return _complain(error.format_message(), 2)
        if debug:
            raise
        return _complain(f"{type(error).__name__}: {error}; --debug shows where", 1)


def _complain(message: str, code: int) -> int:
    from runner.files import public

    typer.echo("goodshot: " + " ".join(public(message).split()), err=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
