"""Create the W&B tracker of a run."""

from __future__ import annotations

from typing import Any

from goodshot.runner.machine.tracking_mode import tracking_mode
from goodshot.runner.run.options import Options
from goodshot.runner.run.work import Work
from goodshot.runner.tracking.tracker import Tracker


def tracker_of(work: Work, options: Options) -> Tracker | None:
    """Return the tracker of a run; None if W&B is disabled."""
    mode: Any = tracking_mode()
    if mode == "disabled":
        return None
    return Tracker(work.results.at(options.out_uri), options.store_uri, options.local_folder.absolute(), mode)
