"""Commands for this machine and its data: weights, datasets, shards, and unneeded files of a store."""

from __future__ import annotations

from typing import Annotated

import typer

from goodshot.components.errors import BadInput, GoodshotError
from goodshot.runner.cli.options import Address, Roots, Settings, StoreURI, stdout


def doctor(
    study: Annotated[
        str | None, typer.Argument(help="Check only what this experiment or study needs (default: everything).")
    ] = None,
    settings: Settings = None,
    root: Roots = None,
    address: Address = None,
    out: Annotated[
        str | None,
        typer.Option(help="With --address: the study's --out, which all nodes have to share.", metavar="URI"),
    ] = None,
    store: StoreURI = None,
) -> None:
    """List what this machine, or each node of a cluster, has and lacks, with a remedy for each; downloads nothing.

    --address is HOST:PORT of a cluster's head; or its dashboard, http://…, where the check runs as a job.
    """
    from goodshot.runner.machine.doctor import examine, print_findings
    from goodshot.runner.named import load_studies
    from goodshot.runner.report.summary import counted

    declared = load_studies(study, settings or [], roots=root or [])[1] if study else ()
    if address and address.startswith(("http://", "https://")):
        from goodshot.runner.cli.cluster import submit_doctor

        if study is None or out is None:
            raise BadInput(f"{address}: give the study and its --out, which a job checks on the cluster's nodes")
        given = [*(f"--set={each}" for each in settings or []), *(f"--root={each}" for each in root or [])]
        submit_doctor(study, declared, address, out, store, given)
        return
    if address:
        from goodshot.runner.nodes.examine import examine_cluster

        faults = print_findings(stdout(), examine_cluster(address, declared, out, store))
        if faults:
            raise GoodshotError(f"{address}: {counted(faults, 'fault')} of its nodes, listed above with a remedy")
        return
    if out or store:
        raise BadInput("--out and --store are checked on the nodes of a cluster; add --address")
    missing = print_findings(stdout(), examine(declared))
    if missing and study:
        raise GoodshotError(f"{study}: {counted(missing, 'thing')} missing, listed above with a remedy")


def fetch(
    what: Annotated[
        str,
        typer.Argument(help="An experiment, a study, a weight or a published dataset ('goodshot doctor' lists them)."),
    ],
    root: Annotated[
        list[str] | None,
        typer.Option(
            "--root",
            help="Folder for the category folders; DATASET= where an experiment reads several; run again to continue.",
            metavar="[DATASET=]DIR",
        ),
    ] = None,
    archive: Annotated[
        str | None, typer.Option(help="The publisher's archive, if you downloaded it by hand.", metavar="FILE")
    ] = None,
    keep_archive: Annotated[bool, typer.Option(help="Keep the downloaded archive in DIR/.downloads.")] = False,
    optional: Annotated[bool, typer.Option("--optional", help="Also fetch a study's optional weights.")] = False,
    settings: Settings = None,
) -> None:
    """Download into caches that nodes may share: shows size and licence, verifies the hash, resumes after a break."""
    from pathlib import Path

    from goodshot.runner.machine.fetching import Wanted
    from goodshot.runner.machine.fetching import fetch as fetch_by_name

    options = Wanted(
        root or [],
        Path(archive).expanduser() if archive else None,
        keep_archive,
        optional,
        settings or [],
    )
    try:
        fetch_by_name(what, options, typer.echo)
    except KeyboardInterrupt:
        typer.echo("stopped; downloaded parts are kept, the same command continues")
        raise typer.Exit(130) from None


def shard(
    dataset: Annotated[str, typer.Argument(help="A dataset ('goodshot doctor' lists them).")],
    root: Annotated[str, typer.Option(help="The folder that holds the category folders.", metavar="DIR")],
    out: Annotated[str, typer.Option(help="Folder or URI for the shards; run again to continue.", metavar="URI")],
    category: Annotated[list[str] | None, typer.Option(help="Only this category; repeatable.")] = None,
    strict: Annotated[bool, typer.Option(help="Fail on any finding, instead of skipping the file.")] = False,
    resolution: Annotated[
        int | None, typer.Option(help="Store square images of this side (default: the files).", min=8, max=4096)
    ] = None,
    max_megapixels: Annotated[
        float | None, typer.Option(help="Refuse an image of more millions of pixels (default: 500).", min=1)
    ] = None,
) -> None:
    """Verify a dataset, report every problem, and write it as Arrow shards with a manifest."""
    from pathlib import Path

    from rich.console import Console

    from goodshot.components.data.checking import Checks
    from goodshot.components.data.images import MAX_MEGAPIXELS, Limit
    from goodshot.runner.console.bars import bar
    from goodshot.runner.data.sharding import verified, write_shards

    console = Console(stderr=True, markup=False, emoji=False)
    with bar("verifying", console) as on_progress:
        checks = Checks(limit=Limit(max_megapixels or MAX_MEGAPIXELS, "--max-megapixels"))
        report = verified(dataset, Path(root).expanduser(), category or (), on_progress, checks)
    for finding in report.findings:
        typer.echo(f"{finding.kind}: {finding}")
    if strict and report.findings:
        raise BadInput(f"{len(report.findings)} findings, listed above; correct them or leave out --strict")
    with bar("writing", console) as on_progress:
        write_shards(dataset, report, out, resolution, typer.echo, on_progress)


def check(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Folder of categories, of one, or of photographs.")],
    dataset: Annotated[
        str | None, typer.Option(help="The dataset whose layout it has (default: recognised).", metavar="NAME")
    ] = None,
    category: Annotated[list[str] | None, typer.Option(help="Only this category; repeatable.")] = None,
    size: Annotated[int, typer.Option(help="The detector's image size, to which masks are resized.", min=8)] = 256,
    html: Annotated[
        str | None, typer.Option(help="Also write a page with the photographs and their masks.", metavar="FILE")
    ] = None,
    strict: Annotated[bool, typer.Option(help="Exit with 2 on any finding.")] = False,
    max_megapixels: Annotated[
        float | None, typer.Option(help="Refuse an image of more millions of pixels (default: 500).", min=1)
    ] = None,
) -> None:
    """Show what is read of a folder of photographs, and everything that is unusual in it; writes nothing else."""
    from pathlib import Path

    from rich.console import Console

    from goodshot.components.data.checking import Checks
    from goodshot.components.data.datasets import dataset_of
    from goodshot.components.data.images import MAX_MEGAPIXELS, Limit
    from goodshot.runner.console.bars import bar
    from goodshot.runner.console.clinic import print_examined
    from goodshot.runner.data.clinic import examine

    where, page = Path(folder).expanduser(), Path(html).expanduser() if html else None
    if page is not None and page.is_dir():
        raise BadInput(f"--html {html}: is a folder; give a file's name")
    checks = Checks((size,), Limit(max_megapixels or MAX_MEGAPIXELS, "--max-megapixels"))
    known = dataset_of(dataset) if dataset else None
    with bar("checking", Console(stderr=True, markup=False, emoji=False)) as on_progress:
        categories = examine(where, known, category or (), checks, size, on_progress)
    print_examined(stdout(), categories)
    if page is not None:
        from goodshot.runner.report.clinic import clinic_page
        from goodshot.runner.store.files import Files, absolute

        Files(absolute(str(page.parent))).write(page.name, clinic_page(categories, str(where)).encode())
        typer.echo(f"page: {page}")
    if strict and any(each.findings for each in categories):
        raise typer.Exit(2)


def gc(
    store: Annotated[str, typer.Argument(help="The store: a study's --store, or OUT/store.", metavar="URI")],
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Also training states; without them a training restarts.")
    ] = False,
    hours: Annotated[float, typer.Option(help="Skip younger files: they may be in use.", min=0)] = 24,
    yes: Annotated[bool, typer.Option("--yes", help="Delete the files; without it they are only listed.")] = False,
) -> None:
    """List or delete files of a store that nothing needs: files of killed processes, or training states."""
    from datetime import timedelta

    from goodshot.components.download import readable
    from goodshot.runner.report.summary import counted
    from goodshot.runner.store.files import Files, absolute
    from goodshot.runner.store.retention import remove, superfluous

    files = Files(absolute(store))
    total = 0
    for group in superfluous(files, timedelta(hours=hours), checkpoints):
        typer.echo(f"{readable(group.size)} in {counted(len(group.names), 'file')} {group.why}" + " are deleted" * yes)
        total += group.size
        if yes:
            remove(files, group)
    if not total:
        typer.echo("nothing can be deleted" + f": no such file is older than {hours:g} hours" * (hours > 0))
    elif not yes:
        typer.echo(f"{readable(total)} in all; --yes deletes it")
