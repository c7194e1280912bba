"""Shared values in Ray's object store: numpy arrays that all processes of a node read without a copy.

A test split is decoded once, and embedded once for all detectors that use the same features, however many cells use
the split. A value is copied at most once to each node. A value that no unfinished cell needs is freed; Ray moves values
that do not fit into memory to the node's disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import ray
from ray import ObjectRef

from goodshot.runner.cells import CellStage
from goodshot.runner.cluster.handles import Gate, own_listener
from goodshot.runner.cluster.silence import Silence
from goodshot.runner.cluster.submissions import Submissions
from goodshot.runner.cluster.worker import load
from goodshot.runner.plan.scheduling import Share, Shares
from goodshot.runner.stages.base import SharedValue, Stage


class SharedValues:
    """Ray references to the values that a run's stages read. Each value is loaded at its first request.

    Args:
        shares: the CPUs and GPUs of each stage, which also determine the CPUs and GPUs for loading a value.
        submissions: keeps track of the loads that Ray has not begun.
        silence: notices loads that stand still.
    """

    def __init__(self, store_uri: str, shares: Shares, submissions: Submissions, silence: Silence) -> None:
        self._store_uri, self._shares = store_uri, shares
        self._submissions, self._silence = submissions, silence
        self._users: Counter[SharedValue] = Counter()
        self._refs: dict[SharedValue, ObjectRef[Any]] = {}
        self.gate: Gate | None = None
        """Decides whether the node that gets a load may run it; None if every node may."""

    def expect(self, cells: Iterable[CellStage]) -> None:
        """Keep the values that these cells need until :meth:`release` has been called once for each cell."""
        for cell in cells:
            self._users.update(_with_inputs(cell.reads))

    def references(self, stage: Stage, reader: str | None = None) -> list[ObjectRef[Any]]:
        """Return Ray references to the values that a stage reads, in order.

        Args:
            reader: the label of the stage's job, which Ray's dashboard shows with each value that this job is the
                first to read. The default is the label of the stage without further products.
        """
        reader = stage.label([stage]) if reader is None else reader
        return [self._reference(value, stage, reader) for value in stage.reads]

    def release(self, cell: CellStage) -> None:
        """Free the values that only this cell still needed."""
        for value in _with_inputs(cell.reads):
            self._users[value] -= 1
            if self._users[value] <= 0:
                self._refs.pop(value, None)
                del self._users[value]

    def forget(self, stage: Stage) -> None:
        """Forget the references of this stage's values, so that lost values are loaded again at the next request."""
        for value in _with_inputs(stage.reads):
            self._refs.pop(value, None)

    def _reference(self, value: SharedValue, stage: Stage, reader: str) -> ObjectRef[Any]:
        if value not in self._refs:
            inputs = [self._reference(input_, stage, reader) for input_ in value.inputs]
            share = self._share(value, stage)
            name = f"load {type(value).__name__} for {reader}"
            task = load.options(name=name, **share.options, **self._shares.placement)
            ticket = self._submissions.ticket()
            self._silence.expect(ticket, stage.resources.silence_seconds)
            self._refs[value] = task.remote(
                value, self._store_uri, share.device, share.threads, self.gate, ticket, own_listener(), *inputs
            )
            withdraw = partial(self._withdraw, value, self._refs[value], ticket)
            self._submissions.wait(ticket, self._shares.unchecked, withdraw)
        return self._refs[value]

    def _withdraw(self, value: SharedValue, reference: ObjectRef[Any], ticket: str) -> None:
        ray.cancel(reference, force=True)
        self._submissions.ended(ticket)
        if self._refs.get(value) is reference:
            del self._refs[value]

    def _share(self, value: SharedValue, stage: Stage) -> Share:
        """Return the share for loading a value: an embedding takes the share of its reader, decoding takes no GPU."""
        if value.takes == "detector":
            return self._shares.of(stage)
        return Share(stage.resources.detector_cpus if value.takes == "cpu" else 0, 0)


def _with_inputs(values: Iterable[SharedValue]) -> Iterator[SharedValue]:
    """Yield each value, and recursively the values that it is made from."""
    for value in values:
        yield value
        yield from _with_inputs(value.inputs)
