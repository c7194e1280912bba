"""Commands about what a machine has: weights, datasets, shards, a store's leftovers."""

from __future__ import annotations

from typing import Annotated

import typer

from components.errors import BadInput, GoodshotError
from runner.cli.options import Settings, stdout


def doctor(
    study: Annotated[str | None, typer.Argument(help="A study, to see what it needs (default: everything).")] = None,
    settings: Settings = None,
) -> None:
    """What is on this machine and what is missing, each with its remedy; starts and downloads nothing."""
    from runner.machine.doctor import examine, print_findings
    from runner.named import load_study

    declared = load_study(study, settings or []) if study else None
    console = stdout()
    missing = print_findings(console, examine(declared))
    if missing and study:
        raise GoodshotError(f"study {study}: {missing} things are missing, listed above with their remedies")


def fetch(
    what: Annotated[
        str, typer.Argument(help="A study, or a weight or published dataset ('goodshot doctor' lists them).")
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

    from runner.machine.fetching import Wanted
    from runner.machine.fetching import fetch as bring

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


def shard(
    dataset: Annotated[str, typer.Argument(help="A dataset ('goodshot doctor' lists them).")],
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

    from rich.console import Console

    from runner.console.bars import bar
    from runner.data.sharding import verified, write_shards

    console = Console(stderr=True)
    with bar("verifying", console) as on_progress:
        report = verified(dataset, Path(root).expanduser(), category or (), on_progress)
    for finding in report.findings:
        typer.echo(f"{finding.kind}: {finding}")
    if strict and report.findings:
        raise BadInput(f"{len(report.findings)} findings, listed above; correct them or leave out --strict")
    with bar("writing", console) as on_progress:
        write_shards(dataset, report, out, resolution, typer.echo, on_progress)


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
    from runner.store.files import Files, absolute
    from runner.store.retention import remove, superfluous

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
