"""Commands for a user's own photographs, without a study."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from goodshot.components.errors import BadInput
from goodshot.runner.cli.options import NO_WORDS, NoWords, Settings, chosen_device, stdout

if TYPE_CHECKING:
    from pathlib import Path

    from goodshot.runner.photographs.generate import Photographs
    from goodshot.runner.study.study import Study


def generate(
    images: Annotated[
        str, typer.Option(help="Folder with photographs of good products; one is enough.", metavar="DIR")
    ],
    object_name: Annotated[str, typer.Option("--object", help="The object shown: a noun, or a name that ends in one.")],
    out: Annotated[str, typer.Option(help="Folder for the images; run again to continue.", metavar="DIR")],
    copies: Annotated[int | None, typer.Option(help="Number of images to make (default: 20).", min=1)] = None,
    iterations: Annotated[
        int | None, typer.Option(help="L, the training iterations, a multiple of 10 (default: 60).", min=1)
    ] = None,
    vq_weight: Annotated[float | None, typer.Option(help="λ: weight of the VQGAN's loss (default: 1).", min=0)] = None,
    seed: Annotated[int, typer.Option(help="Seed of training and sampling.", min=0)] = 0,
    settings: Settings = None,
    no_words: NoWords = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="Only write OUT/preview.png, the generator's training views.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda (default: cuda where there is one).")] = None,
    workers: Annotated[
        int,
        typer.Option(
            help="Processes or GPUs that divide each step's photographs; faster with dozens of photographs.", min=1
        ),
    ] = 1,
) -> None:
    """Make good images from your own photographs: no dataset, no cluster, one command."""
    from pathlib import Path

    from goodshot.components.prompts import note_on, open_wordnet
    from goodshot.runner.named import load_study
    from goodshot.runner.photographs.generate import Photographs, check_settings
    from goodshot.runner.photographs.generate import preview as write_preview

    point = {"copies": copies, "iterations": iterations, "vq_weight": vq_weight, "support_seeds": seed}
    point_settings = [f"{name}={value}" for name, value in point.items() if value is not None]
    check_settings(settings or [])
    study = load_study("generate", [*point_settings, *(settings or []), *([NO_WORDS] if no_words else [])])
    photographs = Photographs(folder=Path(images).expanduser(), object_name=object_name)
    folder = Path(out).expanduser()
    for note in photographs.notes():
        typer.echo(note, err=True)
    if preview:
        typer.echo(write_preview(photographs, folder, study.augmentation, seed))
        return
    if note := note_on(object_name, study.prompt, open_wordnet(study.prompt.wordnet)):
        typer.echo(note, err=True)
    _generate(photographs, study, folder, device, workers)


def prompts(
    object_name: Annotated[str, typer.Argument(metavar="OBJECT", help="A noun, or a name that ends in one.")],
    images: Annotated[
        str | None,
        typer.Option(help="Photographs of the object, a folder or a file: ranks the prompts.", metavar="DIR"),
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Image-text encoder (default: conse-lite0-minilm).", metavar="NAME")
    ] = None,
    hops: Annotated[int | None, typer.Option(help="Number of relations to follow (default: 1).", min=1, max=3)] = None,
    relation: Annotated[
        list[str] | None, typer.Option(help="Only this relation, such as synonyms or hyponyms; repeatable.")
    ] = None,
    sense: Annotated[
        list[str] | None, typer.Option(help="Only this sense, such as nut.n.03; repeatable.", metavar="NAME")
    ] = None,
    senses: Annotated[bool, typer.Option("--senses", help="Only list the object's senses and their names.")] = False,
    template: Annotated[
        str | None, typer.Option(help="Contains {object} and {word} (default: 'a {object} with {word}').")
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="L2 distance of stage 1 (default: 0.5).")] = None,
    keep: Annotated[
        str | None, typer.Option(help="Prompts that stage 1 keeps: farther (as in the paper) or nearer.")
    ] = None,
    wordnet: Annotated[
        str | None, typer.Option(help="Source: auto, nltk, debian or embedded (default: auto).", metavar="SOURCE")
    ] = None,
    top: Annotated[int, typer.Option(help="Number of prompts to show; 0 shows all.", min=0)] = 20,
    json: Annotated[str | None, typer.Option(help="File for the whole ranking.", metavar="FILE")] = None,
    chart: Annotated[str | None, typer.Option(help="File for a chart of the ranking.", metavar="FILE.svg")] = None,
) -> None:
    """List WordNet's prompts for an object, ranked against photographs of it if there are any."""
    from functools import partial
    from pathlib import Path

    from goodshot.components.prompts import note_on, open_wordnet
    from goodshot.runner.photographs import prompts as commands

    console = stdout()
    folder, json_file, chart_file = (Path(p).expanduser() if p else None for p in (images, json, chart))
    commands.check_files(folder, json_file, chart_file)
    fields = {"hops": hops, "relations": relation, "senses": sense, "template": template}
    config = commands.prompt_config(**fields, threshold=threshold, keep=keep, wordnet=wordnet)
    database = open_wordnet(config.wordnet)
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    name = commands.known(object_name, database, partial(commands.pick, console=console) if interactive else None)
    if note := note_on(name, config, database):
        console.print(note, highlight=False, soft_wrap=True)
    if senses:
        commands.print_senses(console, name, database)
        return
    words = commands.words_of(name, config, database)
    if folder is None:
        commands.print_words(console, words, top)
        return
    ranking, photographs = commands.rank_photographs(words, folder, encoder or "conse-lite0-minilm", config)
    commands.print_ranking(console, ranking, words, photographs, top)
    commands.write_files(ranking, folder.name, json_file, chart_file)
    for written in filter(None, (json_file, chart_file)):
        typer.echo(f"written: {written}")


def _generate(photographs: Photographs, study: Study, folder: Path, device: str | None, workers: int) -> None:
    """Train with a progress bar, then print a summary of the images."""
    from rich.table import Table

    from goodshot.components.weights import forbid_downloads
    from goodshot.runner.console.bars import bar
    from goodshot.runner.console.durations import duration
    from goodshot.runner.photographs.generate import generate as generate_images

    forbid_downloads()
    chosen = chosen_device(device)
    console = stdout()
    connection: AbstractContextManager[object] = nullcontext()
    if workers > 1:
        import torch

        from goodshot.runner.cluster.connection import cluster

        if chosen == "cuda" and workers > torch.cuda.device_count():
            raise BadInput(f"--workers {workers}: this machine has {torch.cuda.device_count()} GPUs; use fewer")
        connection = cluster(None, workers + 1)
    try:
        with connection, bar("training", console) as report:
            generated = generate_images(photographs, study, folder, chosen, report, workers)
    except KeyboardInterrupt:
        typer.echo("stopped; the same command continues")
        raise typer.Exit(130) from None
    table = Table(title=f"{len(generated.images)} images, compared with the photographs", title_justify="left")
    for name in generated.quality:
        table.add_column(name.replace("_", " ", 1) if name.startswith("diversity") else name, justify="right")
    table.add_row(*(f"{value:.3g}" for value in generated.quality.values()))
    console.print(table)
    console.print(
        f"iteration {generated.iteration}, the most similar to “{generated.prompt}” ({generated.similarity:.3f})"
        if study.select[0] == "text"
        else f"iteration {generated.iteration}, the last",
        highlight=False,
    )
    console.print(
        f"images: {generated.folder}\nsheet:  {generated.sheet}\nin {duration(generated.seconds)}", highlight=False
    )
