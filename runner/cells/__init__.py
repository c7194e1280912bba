"""The registry of cell kinds. To add a kind, define one object in a file of its own here and list it in
:data:`CELL_KINDS`."""

from __future__ import annotations

from goodshot.runner.cells.base import Cell, CellKind, CellStage, Measured
from goodshot.runner.cells.both import Both
from goodshot.runner.cells.classification import Classification
from goodshot.runner.cells.detection import Detection
from goodshot.runner.cells.images import Images
from goodshot.runner.cells.latents import Latents
from goodshot.runner.cells.segmentation import Segmentation
from goodshot.runner.cells.synthesis import SynthesisQuality

__all__ = ["CELL_KINDS", "USUAL", "Cell", "CellKind", "CellStage", "Measured", "cell_kind", "cell_kinds", "kind_of_row"]

USUAL = Detection()
"""The kind of rows without a kind, which an earlier version wrote. Labels leave its title out."""
CELL_KINDS: tuple[CellKind, ...] = (
    USUAL,
    Images(),
    Latents(),
    SynthesisQuality(),
    Segmentation(),
    Classification(),
    Both(),
)


def cell_kinds() -> tuple[CellKind, ...]:
    """The registered kinds, read at each call because :data:`CELL_KINDS` can be extended."""
    return CELL_KINDS


def cell_kind(name: str) -> CellKind:
    """The kind with this name. Raises ValueError, which lists the known names, if there is none."""
    for kind in CELL_KINDS:
        if kind.name == name:
            return kind
    raise ValueError(f"{name!r} is no kind of cell; there are: {', '.join(kind.name for kind in CELL_KINDS)}")


def kind_of_row(name: str | None) -> CellKind | None:
    """The kind of a row with ``name`` in its column ``cell``; None if it is unknown. None is a detection of an early
    version, which wrote no name."""
    return next((kind for kind in CELL_KINDS if kind.name == (name or USUAL.name)), None)
