"""Shared values in Ray's object store: numpy arrays that all processes of a node read without a copy.

A test split is decoded once, and embedded once for all detectors that read the same features, whatever the number of
cells that are scored on it; it is copied at most once to each node. A value that no unfinished cell needs is freed;
what does not fit, Ray moves to the node's disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from runner.cells import CellStage
from runner.cluster.worker import load
from runner.plan.scheduling import Share, Shares
from runner.stages.base import SharedValue, Stage


class SharedValues:
    """References to the values that a run's stages read, each loaded when it is first asked for.

    Args:
        shares: what loading a value takes of a node.
    """

    def __init__(self, store_uri: str, shares: Shares) -> None:
        self._store_uri, self._shares = store_uri, shares
        self._users: Counter[SharedValue] = Counter()
        self._refs: dict[SharedValue, Any] = {}

    def expect(self, cells: Iterable[CellStage]) -> None:
        """Each of these cells will call :meth:`release` once."""
        for cell in cells:
            self._users.update(_needed(cell.reads))

    def references(self, stage: Stage) -> list[Any]:
        """References to what a stage reads, in order."""
        return [self._reference(value, stage) for value in stage.reads]

    def release(self, cell: CellStage) -> None:
        """This cell is done; the values that it was the last to need are freed."""
        for value in _needed(cell.reads):
            self._users[value] -= 1
            if self._users[value] <= 0:
                self._refs.pop(value, None)
                del self._users[value]

    def _reference(self, value: SharedValue, stage: Stage) -> Any:
        if value not in self._refs:
            inputs = [self._reference(each, stage) for each in value.inputs]
            share = self._share(value, stage)
            task = load.options(num_cpus=share.cpus, num_gpus=share.gpus)
            self._refs[value] = task.remote(value, self._store_uri, share.device, share.threads, *inputs)
        return self._refs[value]

    def _share(self, value: SharedValue, stage: Stage) -> Share:
        """Embedding takes what the stage that reads it takes; decoding the test images takes no GPU."""
        if value.takes == "detector":
            return self._shares.of(stage)
        return Share(stage.resources.detector_cpus if value.takes == "cpu" else 0, 0)


def _needed(values: Iterable[SharedValue]) -> Iterator[SharedValue]:
    """Values, and what they are made of."""
    for value in values:
        yield value
        yield from _needed(value.inputs)
