"""The kinds of cells that there are. To add one: an object in a file of its own here, and its entry in
:data:`CELL_KINDS`."""

from __future__ import annotations

from runner.cells.base import Cell, CellKind, CellStage, Measured
from runner.cells.detection import Detection

__all__ = ["CELL_KINDS", "Cell", "CellKind", "CellStage", "Measured", "cell_kind", "cell_kinds", "kind_of_row"]

CELL_KINDS: tuple[CellKind, ...] = (Detection(),)


def cell_kinds() -> tuple[CellKind, ...]:
    """The kinds that there are now."""
    return CELL_KINDS


def cell_kind(name: str) -> CellKind:
    """The kind of this name. Raises ValueError, naming those there are, for any other name."""
    for kind in CELL_KINDS:
        if kind.name == name:
            return kind
    raise ValueError(f"{name!r} is no kind of cell; there are: {', '.join(kind.name for kind in CELL_KINDS)}")


def kind_of_row(name: str | None) -> CellKind | None:
    """The kind of a row; None of a kind that this version does not know. Early rows, all of detections, named none."""
    return next((kind for kind in CELL_KINDS if kind.name == (name or Detection.name)), None)
