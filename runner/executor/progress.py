"""The progress of a run: counts of cells and training steps, and the measured costs of stages."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from goodshot.runner.stages.costs import Cost, Memory


@dataclass
class Progress:
    """The progress of a run: counts so far and in total, and measured costs.

    executed: executed stages, by kind.
    steps_of: training steps, by the stage's id.
    costs, memory: measured seconds and GPU memory, by kind of work.
    retries: how many stages and cells were run again, by the reason.
    awaited: stages and cells that another run makes and this one waits for.
    cpus: the CPUs of the cluster, as it is now; 0 if unknown.
    missing_node: what a node must have that the queue waits for, such as ``1 CPU``; empty if there is one.
    restarts: how often the process that counts this was lost and started again.
    is_lost: whether that process has been started again and waits for the driver to tell it what the run was at.
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
    memory: dict[str, Memory] = field(default_factory=dict)
    retries: Counter[str] = field(default_factory=Counter)
    awaited: int = 0
    cpus: float = 0.0
    missing_node: str = ""
    restarts: int = 0
    is_lost: bool = False

    @property
    def waits_for(self) -> str:
        """What the run waits for, in words; empty if nothing but its own work."""
        waits = []
        if self.missing_node:
            waits.append(f"waiting for a node with {self.missing_node}")
        if self.awaited:
            noun = "stages" if self.awaited > 1 else "stage"
            waits.append(f"waiting for {self.awaited} {noun} that another run is making")
        return ", ".join(waits)

    def continued(self) -> Progress:
        """The counts with which a new process goes on; cells that are not finished are counted when requested again."""
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

    def seconds_left(self, parallel: float) -> float | None:
        """Expected seconds to the end on ``parallel`` CPUs; None until a step, or without steps a cell, was timed.

        If the number of CPUs of the cluster is known, it is used instead.
        """
        finished = self.cells_done - self.cells_failed
        if not (finished or self.steps_done) or (self.steps_total and not self.steps_done):
            return None
        per_step = self.step_seconds / self.steps_done if self.steps_done else 0.0
        per_cell = self.cell_seconds / finished if finished else 2.0
        remaining = max(0, self.steps_total - self.steps_done) * per_step
        remaining += (self.cells_total - self.cells_done) * per_cell
        return remaining / (self.cpus or parallel)

    def stepped(self, stage: str, steps: int, seconds: float) -> None:
        """Count training steps of a stage, which count even if the stage fails later."""
        self.steps_of[stage] = self.steps_of.get(stage, 0) + steps
        self.steps_done += steps
        self.step_seconds += seconds

    def measured(self, kind: str, seconds: float, units: float) -> None:
        """Add the seconds that some units of a kind of work took."""
        self.costs[kind] = self.costs.get(kind, Cost()) + Cost(seconds, units)
