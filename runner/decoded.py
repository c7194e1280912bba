"""Decoded photographs in Ray's object store: numpy arrays that every process of a node reads from one shared memory.

A test split is decoded once and copied at most once to each node, whatever the number of cells that are scored on it
there. What no unfinished cell needs any more is given back; what does not fit, Ray moves to the node's disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import ray

from components.data.shards import Split
from runner.cluster import start_worker
from runner.plan import PlannedCell, Support
from runner.stages import read_support, read_test
from runner.store import Store

Key = tuple[str, object]


# No CPU: a generator actor that holds the last one waits for this.
@ray.remote(num_cpus=0)
def _decode_support(support: Support, store_uri: str) -> list[np.ndarray]:
    start_worker(1)
    return read_support(support, Store(store_uri))


@ray.remote
def _decode_test(shard: str, size: int, store_uri: str, threads: int) -> Split:
    start_worker(threads)
    return read_test(Store(store_uri), shard, size, threads)


class DecodedImages:
    """References to the originals and test splits of a run's cells; each is decoded when it is first asked for.

    A process only ever reads its own category's shard, and of that the one split: :func:`read_support` takes the
    batches that hold the support, :func:`read_test` the test split, with a thread a CPU.

    Args:
        cpus: CPUs that decoding a test split takes.
    """

    def __init__(self, store_uri: str, cpus: float) -> None:
        self._store_uri, self._cpus = store_uri, cpus
        self._users: Counter[Key] = Counter()
        self._refs: dict[Key, Any] = {}

    def expect(self, cells: Iterable[PlannedCell]) -> None:
        """Each of these cells will call :meth:`release` once."""
        for planned in cells:
            self._users.update(_keys(planned))

    def support(self, support: Support) -> Any:
        """Reference to the originals as :func:`read_support` gives them."""
        key = ("support", support)
        if key not in self._refs:
            self._refs[key] = _decode_support.remote(support, self._store_uri)
        return self._refs[key]

    def test(self, shard: str, size: int) -> Any:
        """Reference to the :class:`Split` of the test images at ``size``."""
        key = ("test", (shard, size))
        if key not in self._refs:
            self._refs[key] = _decode_test.options(num_cpus=self._cpus).remote(
                shard, size, self._store_uri, max(1, int(self._cpus))
            )
        return self._refs[key]

    def release(self, planned: PlannedCell) -> None:
        """This cell is done; what it was the last to need is freed."""
        for key in _keys(planned):
            self._users[key] -= 1
            if self._users[key] <= 0:
                self._refs.pop(key, None)
                del self._users[key]


def _keys(planned: PlannedCell) -> list[Key]:
    size = planned.cell.detector.image_size
    return [("support", planned.support), ("test", (planned.support.shard, size))]
