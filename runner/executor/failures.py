"""Record failed cells: the error in one line, and the traceback."""

from __future__ import annotations

import re
import traceback
from contextlib import suppress

from goodshot.components.errors import GoodshotError
from goodshot.runner.cells import CellStage
from goodshot.runner.results.results import Results

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def record_failure(results: Results, stage: CellStage, error: Exception, cause: BaseException, log: str = "") -> None:
    """Write a failed cell's error and traceback to ``failures/`` and ``logs/``.

    Args:
        error: the error that the executor caught.
        cause: the error that the stage raised; on Ray, ``error`` wraps it.
        log: the traceback as text if the stage ran in another process; otherwise that of ``error`` is recorded.
    """
    kind = "" if isinstance(cause, GoodshotError) else f"{type(cause).__name__}: "
    lines = str(cause).strip().splitlines() or ["no message"]
    text = COLOUR.sub("", log) if log else "".join(traceback.format_exception(error))
    # If the record cannot be written, the cell still counts as failed and the other cells continue.
    with suppress(OSError, GoodshotError):
        results.append_failure(stage.fingerprint, stage.study, stage.cell.label, f"{kind}{lines[0]}", text)
