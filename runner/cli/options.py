"""The application object, the options that several commands share, and their console.

Commands import heavy packages inside their functions, so that ``goodshot --help`` answers at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from goodshot.components.errors import BadInput

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    name="goodshot",
    help="Generate good product images from one photograph, and measure what they are worth to an anomaly detector.",
    epilog="Add --debug to any command for the traceback of an error.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# The width in characters of output that is not a terminal, such as a log file; the tables fit into it.
PLAIN_WIDTH = 200

Named = Annotated[
    str, typer.Argument(help="An experiment or a study by its name (see 'goodshot studies'), or a YAML file.")
]
Quick = Annotated[bool, typer.Option("--quick", help="The experiment's quick flavour: embedded weights and data.")]
Out = Annotated[str, typer.Option(help="Folder or URI for results; run again to continue.", metavar="URI")]
StoreURI = Annotated[
    str | None, typer.Option(help="Folder or URI for artifacts that studies share (default: OUT/store).", metavar="URI")
]
Address = Annotated[
    str | None,
    typer.Option(
        help="A running Ray cluster, HOST:6379 (default: RAY_ADDRESS, or else this machine only, as with 'local')."
    ),
]
InsecureLocal = Annotated[
    bool, typer.Option("--insecure-local", help="Use a cluster without a token, if only 127.0.0.1 reaches it.")
]
CPUs = Annotated[int | None, typer.Option(help="CPUs to use on this machine (default: all).", min=1)]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Override a field of the study; repeatable.", metavar="KEY=VALUE")
]
Roots = Annotated[
    list[str] | None,
    typer.Option(
        "--root",
        help="Folder (or URI of shards) of a dataset; DATASET= where several are read; repeatable.",
        metavar="[DATASET=]DIR",
    ),
]
NoWords = Annotated[
    bool,
    typer.Option(
        "--no-words", help="Give an object that is no noun in WordNet the one prompt 'a photo of a {object}'."
    ),
]
NO_WORDS = "prompt.naive_if_unknown=true"
"""The setting that ``--no-words`` stands for."""

Oracle = Annotated[
    bool, typer.Option("--oracle", help="Allow a test metric as the objective; marks every row of the study.")
]


def stdout() -> Console:
    """Return a console on standard output, wide enough for the tables if it is not a terminal.

    Texts are printed as they are: titles, paths and categories are a user's, and may hold ``[brackets]``.
    """
    from rich.console import Console

    console = Console(markup=False, emoji=False)
    return console if console.is_terminal else Console(width=PLAIN_WIDTH, markup=False, emoji=False)


def chosen_device(device: str | None) -> str:
    """The device of a ``--device``, by default a GPU if there is one.

    Raises :class:`BadInput` if it is unknown, or this machine lacks it.
    """
    import torch

    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if chosen not in ("cpu", "cuda"):
        raise BadInput(f"--device {chosen}: choose cpu or cuda")
    if chosen == "cuda" and not torch.cuda.is_available():
        raise BadInput("--device cuda: this machine has no GPU that torch can use; leave the option out")
    return chosen
