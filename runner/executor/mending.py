"""Take back artifacts whose bytes are not those that were committed, so that they are made anew."""

from __future__ import annotations

from goodshot.runner.cells import CellStage
from goodshot.runner.plan.plan import Plan
from goodshot.runner.stages.base import Stage
from goodshot.runner.store.artifacts import Store

DAMAGED = "an artifact was damaged"
"""The reason for which such a cell is run again."""


def take_back_damaged(plan: Plan, store: Store, cell: CellStage) -> list[Stage]:
    """Look for the reason of a cell's failure among the artifacts that it depends on.

    Every artifact is read and compared with the hashes in its commit, which is deleted if they differ: what was read
    wrong once may be sound, and is kept. Returns the stages whose artifacts were taken back.
    """
    stages = plan.closure(cell.inputs).values()
    return [stage for stage in stages if stage.is_artifact and store.take_back_if_damaged(stage.key)]
