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
"""In the order of the help."""
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
    from runner.store.files import public

    typer.echo("goodshot: " + " ".join(public(message).split()), err=True)
    return code
