"""One of the two outputs that are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from goodshot.runner.results.comparison import Row
from goodshot.runner.results.frames import ORDER, opened
from goodshot.runner.results.record import StudyRecord, read_records
from goodshot.runner.results.results import Results
from goodshot.runner.store.files import public


@dataclass(frozen=True)
class Output:
    """An output: the rows of its finished cells by fingerprint, sorted by what they measure, and its studies.

    name: the folder or URI, as the user gave it, without credentials.
    """

    name: str
    results: Results
    rows: Mapping[str, Row]
    records: Sequence[StudyRecord]


def read_output(out: str) -> Output:
    """Read an output. Raises :class:`BadInput` if it is missing, not an output of goodshot, or of a newer version."""
    results = opened(out)
    rows = sorted(results.rows().items(), key=lambda item: [str(item[1][column]) for column in ORDER])
    return Output(public(out), results, dict(rows), read_records(results))
