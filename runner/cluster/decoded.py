"""Decoded photographs and their features in Ray's object store: numpy arrays that all processes of a node share.

A test split is decoded once, and embedded once for all detectors that read the same features, whatever the number of
cells that are scored on it; it is copied at most once to each node. What no unfinished cell needs any more is given
back; what does not fit, Ray moves to the node's disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from components.detectors.config import DetectorConfig
from runner.cluster.connection import tasks
from runner.plan.plan import PlannedCell, Support
from runner.plan.scheduling import Shares
from runner.store.fingerprint import fingerprint

Key = tuple[str, object]


class DecodedImages:
    """References to the originals and test splits of a run's cells, and to their features where a detector shares them.

    Each is made when it is first asked for.

    A process only ever reads its own category's shard, and of that the one split: :func:`read_support` takes the
    batches that hold the support, :func:`read_test` the test split, with a thread a CPU.

    Args:
        shares: what embedding a split takes, as detecting does; decoding one takes no GPU.
    """

    def __init__(self, store_uri: str, shares: Shares) -> None:
        self._store_uri, self._shares = store_uri, shares
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
            self._refs[key] = tasks.decode_support.remote(support, self._store_uri)
        return self._refs[key]

    def test(self, shard: str, size: int) -> Any:
        """Reference to the :class:`Split` of the test images at ``size``."""
        key = ("test", (shard, size))
        if key not in self._refs:
            cpus = self._shares.resources.detector_cpus
            self._refs[key] = tasks.decode_test.options(num_cpus=cpus).remote(
                shard, size, self._store_uri, max(1, int(cpus))
            )
        return self._refs[key]

    def features(self, planned: PlannedCell) -> list[Any]:
        """References to the features of the cell's originals and of its test images; none if its detector shares none.

        What a reference leads to is None where features are too large to be kept; they are then the cell's own work.
        """
        keys = _feature_keys(planned)
        if not keys:
            return []
        images = (self.support(planned.support), self.test(planned.support.shard, planned.cell.detector.image_size))
        for key, of in zip(keys, images, strict=True):
            if key not in self._refs:
                share = self._shares.detector(planned.cell.detector)
                task = tasks.embed.options(num_cpus=share.cpus, num_gpus=share.gpus)
                self._refs[key] = task.remote(planned.cell.detector, of, share.device, share.threads)
        return [self._refs[key] for key in keys]

    def release(self, planned: PlannedCell) -> None:
        """This cell is done; what it was the last to need is freed."""
        for key in _keys(planned):
            self._users[key] -= 1
            if self._users[key] <= 0:
                self._refs.pop(key, None)
                del self._users[key]


def _keys(planned: PlannedCell) -> list[Key]:
    size = planned.cell.detector.image_size
    return [("support", planned.support), ("test", (planned.support.shard, size)), *_feature_keys(planned)]


def _feature_keys(planned: PlannedCell) -> list[Key]:
    """Of the originals' features and of the test images': two detectors that read alike have the same."""
    kind = _features_kind(planned.cell.detector)
    if kind is None:
        return []
    return [("support features", (planned.support, kind)), ("test features", (planned.support.shard, kind))]


@lru_cache
def _features_kind(detector: DetectorConfig) -> str | None:
    identity = detector.features_identity()
    return None if identity is None else fingerprint("features", 1, identity, {})
