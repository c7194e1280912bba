"""What several commands share: the application, their options, and where they print.

Heavy imports stay inside the commands: ``goodshot --help`` answers at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

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

# A log file has no width of its own; this one fits the tables.
PLAIN_WIDTH = 200

Named = Annotated[
    str, typer.Argument(help="An experiment or a study by its name (see 'goodshot studies'), or a YAML file.")
]
Quick = Annotated[bool, typer.Option("--quick", help="The experiment's quick flavour: embedded weights and data.")]
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


def stdout() -> Console:
    """Standard output, wide enough for the tables where it is no terminal."""
    from rich.console import Console

    found = Console()
    return found if found.is_terminal else Console(width=PLAIN_WIDTH)
