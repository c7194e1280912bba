"""Count the training steps that a study saves by sharing trainings between its image sets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from goodshot.runner.plan.plan import Plan, planned_steps, unshared_steps
from goodshot.runner.results.results import Results
from goodshot.runner.study.study import Study


@dataclass(frozen=True)
class Sharing:
    """The numbers of generator training steps of a study.

    this_run, all_runs: steps executed in this run, and in all runs that are recorded in ``--out``.
    planned: steps that the study's trainings need; more than ``all_runs`` if another output has made trainings in the
    store.
    unshared: steps that the study would need if each image set had its own training.
    """

    this_run: int
    all_runs: int
    planned: int
    unshared: int

    @property
    def executed(self) -> int:
        """The steps that were executed for the study, for this or another output."""
        return max(self.all_runs, self.planned)


def sharing(study: Study, plan: Plan, steps: Mapping[str, int], results: Results) -> Sharing:
    """Count the steps executed for a study's generators, including steps shared with other studies.

    Args:
        steps: the steps of this run, by the id of the training.
    """
    cells = [plan.cells[f] for f in plan.cells_of[study.name]]
    stages = plan.closure(dict.fromkeys(id_ for cell in cells for id_ in cell.inputs))
    recorded = [
        json.loads(results.files.read(name))["generator_steps"] for name in results.files.names("runs", ".json")
    ]
    return Sharing(
        this_run=sum(steps.get(id_, 0) for id_ in stages),
        all_runs=sum(run.get(id_, 0) for run in recorded for id_ in stages),
        planned=planned_steps(plan, cells),
        unshared=unshared_steps(plan, cells),
    )
