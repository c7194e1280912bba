"""The command line: errors are one line on stderr; exit code 2 for bad input, 1 for failure."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from components.errors import BadInput, GoodshotError
from runner.cli import data, images, studies
from runner.cli.options import app

COMMANDS = (
    studies.demo,
    studies.sweep,
    studies.plan,
    studies.report,
    studies.verify,
    studies.studies,
    images.generate,
    images.prompts,
    data.doctor,
    data.fetch,
    data.shard,
    data.gc,
)
"""The commands, in the order in which the help lists them."""
for command in COMMANDS:
    app.command()(command)


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
        # Ray puts the failed process's traceback into the exception's text; its cause has the one-line message.
        return _complain(str(getattr(error, "cause", error)), 2 if isinstance(error, BadInput) else 1)
    except Exception as error:
        # Typer contains its own copy of click, which has no public name for usage errors.
        if hasattr(error, "format_message"):
            return _complain(error.format_message(), 2)
        if debug:
            raise
        return _complain(f"{type(error).__name__}: {error}; --debug shows where", 1)


def _complain(message: str, code: int) -> int:
    from runner.store.files import public

    typer.echo("goodshot: " + " ".join(public(message).split()), err=True)
    return code
