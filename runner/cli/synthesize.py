"""The command ``goodshot synthesize``: defective images from a user's own photographs, without a study."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from goodshot.components.errors import BadInput
from goodshot.runner.cli.options import Settings, chosen_device, stdout

if TYPE_CHECKING:
    from goodshot.runner.photographs.synthesize import Synthesized


def synthesize(
    good: Annotated[str, typer.Option(help="Folder with photographs of good products.", metavar="DIR")],
    object_name: Annotated[str, typer.Option("--object", help="The word for the product, such as cup.")],
    out: Annotated[str, typer.Option(help="Folder for the images; run again to continue.", metavar="DIR")],
    defects: Annotated[
        str | None,
        typer.Option(help="Folder with at least 3 defective photographs, in a folder for each type.", metavar="DIR"),
    ] = None,
    masks: Annotated[
        str | None, typer.Option(help="Folder with their masks: the same folders and names.", metavar="DIR")
    ] = None,
    caption: Annotated[
        str | None, typer.Option(help="A sentence for all of them (default: OBJECT with TYPE).", metavar="TEXT")
    ] = None,
    copies: Annotated[
        int | None, typer.Option(help="Number of images to make of each defect type (default: 20).", min=1)
    ] = None,
    layout: Annotated[str, typer.Option(help="folder (MVTec AD's), coco or yolo.", metavar="NAME")] = "folder",
    method: Annotated[
        str, typer.Option(help="fusion, crop_paste, cutpaste or draem_skimage.", metavar="NAME")
    ] = "fusion",
    seed: Annotated[int, typer.Option(help="Seed of training and sampling.", min=0)] = 0,
    settings: Settings = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda (default: cuda where there is one).")] = None,
) -> None:
    """Make defective images with masks from your own photographs: no dataset, no cluster, one command."""
    from pathlib import Path

    from goodshot.components.weights import forbid_downloads
    from goodshot.runner.console.bars import bar
    from goodshot.runner.named import load_study
    from goodshot.runner.photographs.synthesize import Product, check_settings, method_of
    from goodshot.runner.photographs.synthesize import synthesize as make

    given = {"copies": copies, "support_seeds": seed, "synthesis.caption": _sentence(caption)}
    options = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in given.items() if value is not None]
    study = load_study("synthesize", [*options, *(settings or [])])
    arm = method_of(method)
    check_settings(settings or [], arm)
    folders = {"good": good, "defects": defects, "masks": masks}
    paths = {name: Path(text).expanduser() for name, text in folders.items() if text is not None}
    product = Product(object_name=object_name, **paths)
    forbid_downloads()
    where, console = Path(out).expanduser(), stdout()
    try:
        with bar("training", console) as report:
            made = make(product, arm, study, where, layout, chosen_device(device), report, _note)
    except KeyboardInterrupt:
        typer.echo("stopped; the same command continues")
        raise typer.Exit(130) from None
    for line in summary(made, object_name):
        console.print(line, highlight=False, soft_wrap=True)


def summary(made: Synthesized, object_name: str) -> list[str]:
    """Return the lines about the training, the images made, and their expected quality."""
    from goodshot.runner.console.durations import duration

    source = f"{made.goods} good" + f" and {made.defects} defective" * bool(made.defects) + " photographs"
    steps = ", ".join(f"{title} {count} steps" for title, count in made.trained.items())
    learned = f"learned from {source}: {steps}" if steps else f"nothing is learned: pasted on {source}"
    types = ", ".join(f"{count} {kind}" for kind, count in made.made.items())
    lines = [learned, f"{sum(made.made.values())} images of {object_name}: {types}"]
    if made.small_base is not None:
        lines.append(SMALL_BASE.format(side=made.small_base))
    return [*lines, f"images: {made.folder}", f"sheet:  {made.sheet}", f"in {duration(made.seconds)}"]


SMALL_BASE = (
    "Look at the sheet before you train on these images: the diffusion model was trained from scratch on your "
    "photographs alone, at {side} pixels, and what it makes is modest: spots may lose their colour. "
    "--method crop_paste shows your real defects at other places instead; with a GPU, start from a published model, as "
    "docs/defects.md says."
)


def _sentence(caption: str | None) -> str | None:
    """A caption in one line. Raises :class:`BadInput` for one without a word."""
    if caption is not None and not caption.strip():
        raise BadInput("--caption: is empty; write one sentence, or leave it out")
    return None if caption is None else " ".join(caption.split())


def _note(note: str) -> None:
    typer.echo(note, err=True)
