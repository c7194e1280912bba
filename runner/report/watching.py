"""``goodshot report --watch``: write the page again whenever rows change, until the studies are complete."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from goodshot.runner.report.context import read_studies
from goodshot.runner.report.page import page_file, write_page
from goodshot.runner.results.prices import Prices
from goodshot.runner.results.results import Results
from goodshot.runner.run.options import Options

SECONDS = 5
"""Seconds between two looks at the rows, and between two loads of the open page."""
WATCHED = ("results", "finished", "failures", "trials", "studies", "runs")
"""The folders whose files show that something has changed: files are added and replaced by others, rarely rewritten."""


def watch_report(
    *outputs: Options,
    file: str | None,
    prices: Prices,
    tell: Callable[[str], object],
    seconds: float = SECONDS,
) -> None:
    """Keep the page up to date until every study of the outputs is complete, or the user interrupts.

    The page that is left behind does not load itself anew.

    Args:
        tell: takes a line for the user.

    Raises:
        BadInput: as in :func:`goodshot.runner.report.page.write_report`.
    """
    place, written = page_file(outputs, file), None
    try:
        while True:
            present = _state(outputs)
            if present != written:
                studies = [read_studies(options) for options in outputs]
                is_complete = all(study.is_complete for own in studies for study in own)
                where = write_page(studies, place, prices, reload=0 if is_complete else SECONDS)
                if written is None:
                    tell(where)
                written = present
                if is_complete:
                    return
            time.sleep(seconds)
    except KeyboardInterrupt:
        if written is not None:
            write_page([read_studies(options) for options in outputs], place, prices)


def _state(outputs: Sequence[Options]) -> tuple[tuple[str, ...], ...]:
    """The names and sizes of the watched files of each output."""
    return tuple(tuple(_files(Results(options.out))) for options in outputs)


def _files(results: Results) -> list[str]:
    files = results.files
    names = [name for folder in WATCHED for name in files.names(folder)]
    sizes = files.filesystem.get_file_info([files.path(name) for name in names])
    return [f"{name} {info.size} {info.mtime_ns}" for name, info in zip(names, sizes, strict=True)]
