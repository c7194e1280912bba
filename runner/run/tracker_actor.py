"""The W&B tracker as one Ray actor for all trials, because an actor for each trial would cost seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray

from goodshot.runner.cells import CellStage
from goodshot.runner.cluster.placing import on_own_node
from goodshot.runner.run.tracking import Logged, Names, Tracker

_TrackerActor = ray.remote(num_cpus=0)(Tracker)


class TrackerHandle:
    """The driver's handle of the tracker actor."""

    def __init__(self, folder: Path, mode: str, store_uri: str) -> None:
        self._actor = _TrackerActor.options(scheduling_strategy=on_own_node()).remote(
            str(folder), mode, Names.of_environment()
        )
        self._store_uri = store_uri

    def log(self, study: str, values: Mapping[str, Any], cells: Sequence[CellStage], rows: Any) -> None:
        """Log a point, without waiting. ``rows`` are the outcomes of its cells, or a Ray reference to them."""
        self._actor.log.remote(study, values, cells, rows, self._store_uri)

    def finish(self) -> Logged:
        """Wait until everything is logged; returns what became of the runs."""
        logged: Logged = ray.get(self._actor.finish.remote())
        return logged
