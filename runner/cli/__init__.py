"""The command line of goodshot."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Sequence

import typer

from goodshot.components.errors import BadInput, GoodshotError
from goodshot.runner.cli import cluster, data, images, studies, synthesize
from goodshot.runner.cli.options import app
from goodshot.runner.machine.surroundings import prepare

COMMANDS = (
    studies.demo,
    studies.sweep,
    studies.plan,
    studies.report,
    studies.export,
    studies.compare,
    studies.verify,
    studies.studies,
    images.generate,
    synthesize.synthesize,
    images.prompts,
    cluster.submit,
    cluster.attach,
    cluster.jobs,
    cluster.status,
    cluster.stop,
    data.doctor,
    data.fetch,
    data.check,
    data.shard,
    data.gc,
)
"""The commands, in the order in which the help lists them."""
for command in COMMANDS:
    app.command()(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, or why it ended early.

    1 for a failure, 2 for bad input, 3 for a lost head of a cluster, 130 for Ctrl-C, 143 for SIGTERM.

    An error is printed as one line on stderr; with ``--debug`` it is raised, for its traceback. After the loss of a
    cluster's head, this process cannot use Ray any more, and exits without Ray's shutdown.
    """
    prepare()
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        code = app([word for word in words if word != "--debug"], standalone_mode=False)
        return int(code or 0)
    except typer.Abort:
        return 130
    except GoodshotError as error:
        code = _code(error)
        if debug:
            raise
        # Ray puts the failed process's traceback into the exception's text; its cause has the one-line message.
        return _print_error(str(getattr(error, "cause", error)), code)
    except Exception as error:
        # Typer contains its own copy of click, which has no public name for usage errors.
        if hasattr(error, "format_message"):
            return _print_error(error.format_message(), 2)
        if debug:
            raise
        return _print_error(f"{type(error).__name__}: {error}; --debug shows where", 1)


def _code(error: GoodshotError) -> int:
    """The exit code for an error."""
    from goodshot.runner.cluster.head import EXIT_CODE, HeadLost, leave

    if isinstance(error, HeadLost):
        # The exit handler registered last runs first, before Ray's own handler, which would wait for the head.
        atexit.register(leave)
        return EXIT_CODE
    return 2 if isinstance(error, BadInput) else 1


def _print_error(message: str, code: int) -> int:
    """Print the message as one line without credentials, and return the exit code."""
    from goodshot.runner.store.files import public

    typer.echo("goodshot: " + " ".join(public(message).split()), err=True)
    return code
