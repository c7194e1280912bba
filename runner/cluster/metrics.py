"""Publish the counts of a run at Ray's Prometheus endpoint (``ray_goodshot_…`` on every node's metrics port)."""

from __future__ import annotations

import time
from collections.abc import Mapping

from ray.util.metrics import Gauge

from goodshot.runner.cluster.failures import LIMITS
from goodshot.runner.executor.progress import Progress


class RunMetrics:
    """Publishes the progress of the run with these studies."""

    def __init__(self, studies: str) -> None:
        tags = {"studies": studies}
        self._cells = _gauge("goodshot_cells", "Cells of the run, by state.", "state", tags)
        self._stages = _gauge(
            "goodshot_stages", "Stages that run or are queued, by kind and state.", "kind state", tags
        )
        self._executed = _gauge("goodshot_stages_executed", "Stages executed by the run, by kind.", "kind", tags)
        self._steps = _gauge("goodshot_generator_steps", "Updates of generators, by state.", "state", tags)
        self._rate = _gauge("goodshot_generator_steps_per_second", "Updates of generators in each second.", "", tags)
        self._retries = _gauge("goodshot_retries", "Stages that were run again, by the reason.", "reason", tags)
        self._last = 0, time.monotonic()

    def publish(self, progress: Progress) -> None:
        """Set all metrics to the current counts."""
        cells = {"total": progress.cells_total, "done": progress.cells_done, "failed": progress.cells_failed}
        _set(self._cells, "state", cells)
        for state, counts in (("running", progress.running), ("queued", progress.queued)):
            # The gauge of a kind without running or queued stages is reset to 0.
            for kind in {*counts, *progress.executed}:
                self._stages.set(counts.get(kind, 0), {"kind": kind, "state": state})
        _set(self._executed, "kind", progress.executed)
        _set(self._steps, "state", {"total": progress.steps_total, "done": progress.steps_done})
        _set(self._retries, "reason", {**dict.fromkeys(LIMITS, 0), **progress.retries})
        steps, now = progress.steps_done, time.monotonic()
        self._rate.set((steps - self._last[0]) / max(now - self._last[1], 1e-3))
        self._last = steps, now


def _gauge(name: str, description: str, tags: str, defaults: Mapping[str, str]) -> Gauge:
    gauge = Gauge(name, description=description, tag_keys=(*tags.split(), *defaults))
    gauge.set_default_tags(dict(defaults))
    return gauge


def _set(gauge: Gauge, tag: str, counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        gauge.set(count, {tag: name})
