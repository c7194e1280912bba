"""The progress of a run: counts of cells and training steps, and the measured costs of stages."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace

from goodshot.runner.results.status import NodeStatus
from goodshot.runner.stages.costs import Cost, Memories

UNKNOWN_CELL_SECONDS = 2.0
"""The assumed seconds of a cell if no such cell was ever timed."""
ASSUMED_SECONDS = 15.0
"""Weight of the assumed pace, in seconds of a run. The first seconds, in which processes start, are not typical."""
ASSUMED_SHARE = 0.75
"""The assumed share of a busy process's time that is counted as work; 0.72 was measured on a sweep of the demo."""


@dataclass
class Progress:
    """The progress of a run: counts so far and in total, and measured costs.

    executed: executed stages, by kind.
    steps_of: training steps, by the stage's id.
    step_seconds, cell_seconds: the seconds that all training steps and all cells of the run have taken.
    costs, memory: measured seconds and GPU memory, by kind of work.
    retries: how many stages and cells were run again, by the reason.
    awaited: the number of stages and cells that this run waits for, because another run is making them.
    most_at_once: the most stages and cells that were seen to run at once.
    running: the number of stages that are being made, by kind; cells included.
    queued: the number of stages that wait for a CPU or GPU, by kind; cells included.
    nodes: the nodes of the cluster, as they are now.
    working_since: the time, in seconds since the epoch, at which the first step or cell began; 0 before.
    cell_guess: the expected seconds of a cell, until one was timed.
    missing_node: the resources, such as ``1 CPU``, that queued stages need and that no node has; empty otherwise.
    restarts: how often the process that keeps these counts was lost and started again.
    is_lost: whether that process has been started again and waits for the driver to send it the state of the run.
    """

    cells_total: int = 0
    cells_done: int = 0
    cells_failed: int = 0
    steps_total: int = 0
    steps_done: int = 0
    step_seconds: float = 0.0
    cell_seconds: float = 0.0
    executed: Counter[str] = field(default_factory=Counter)
    steps_of: dict[str, int] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)
    memory: Memories = field(default_factory=dict)
    retries: Counter[str] = field(default_factory=Counter)
    awaited: int = 0
    most_at_once: int = 1
    running: Counter[str] = field(default_factory=Counter)
    queued: Counter[str] = field(default_factory=Counter)
    nodes: tuple[NodeStatus, ...] = ()
    working_since: float = 0.0
    cell_guess: float = UNKNOWN_CELL_SECONDS
    missing_node: str = ""
    restarts: int = 0
    is_lost: bool = False

    @property
    def waits_for(self) -> str:
        """A text that says what the run waits for; empty if the run waits for its own work only."""
        waits = []
        if self.missing_node:
            waits.append(f"waiting for a node with {self.missing_node}")
        if self.awaited:
            noun = "stages" if self.awaited > 1 else "stage"
            waits.append(f"waiting for {self.awaited} {noun} that another run is making")
        return ", ".join(waits)

    def continued(self) -> Progress:
        """Return the counts for a restarted process. Unfinished cells are counted when they are requested again."""
        done = self.cells_done - self.cells_failed
        return replace(
            self,
            cells_total=done,
            cells_done=done,
            cells_failed=0,
            steps_total=self.steps_done,
            awaited=0,
            restarts=self.restarts + 1,
            is_lost=False,
        )

    def seconds_left(self, now: float | None = None) -> float | None:
        """Expected seconds to the end, at the pace of the run so far; None until a step or cell was timed.

        Work is measured in seconds of one process. The pace is the work that was done per second since the first work
        began. It depends on how many stages run at once, and on time that is not counted as work, such as scoring and
        starting processes. The pace is averaged with an assumed pace, in which each of :attr:`most_at_once` processes
        works for :data:`ASSUMED_SHARE` of the time; the assumed pace has the weight of :data:`ASSUMED_SECONDS`.

        Args:
            now: the current time in seconds since the epoch; None for the clock's time.
        """
        work = self.step_seconds + self.cell_seconds
        if not work or (self.steps_total and not self.steps_done):
            return None
        finished = self.cells_done - self.cells_failed
        per_step = self.step_seconds / self.steps_done if self.steps_done else 0.0
        per_cell = self.cell_seconds / finished if finished and self.cell_seconds else self.cell_guess
        left = max(0, self.steps_total - self.steps_done) * per_step + (self.cells_total - self.cells_done) * per_cell
        elapsed = (time.time() if now is None else now) - self.working_since
        assumed = ASSUMED_SECONDS * ASSUMED_SHARE * self.most_at_once
        return left * (max(elapsed, 0.0) + ASSUMED_SECONDS) / (work + assumed)

    def stepped(self, stage: str, steps: int, seconds: float) -> None:
        """Count training steps of a stage. They remain counted if the stage fails later."""
        self.steps_of[stage] = self.steps_of.get(stage, 0) + steps
        self.steps_done += steps
        self.step_seconds += seconds
        self._worked(seconds)

    def cell_took(self, seconds: float) -> None:
        """Add the seconds of a finished cell."""
        self.cell_seconds += seconds
        self._worked(seconds)

    def _worked(self, seconds: float) -> None:
        self.working_since = self.working_since or time.time() - seconds

    def measured(self, kind: str, seconds: float, units: float, takes: str = "") -> None:
        """Add a measurement: the seconds that a number of units of a kind of work took."""
        self.costs[kind] = self.costs.get(kind, Cost()) + Cost(seconds, units, takes)
