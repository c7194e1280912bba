"""The shard stage: write a category's splits to the store as Arrow files, and read images from them.

This module does not import torch, so a process that only decodes photographs starts quickly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa

from goodshot.components.data.sample import SPLITS, Sample, SplitName
from goodshot.components.data.shards import SUFFIX, Split, decode, decode_originals, read_split, write_split
from goodshot.runner.data.catalogue import SHARD_VERSION, Category
from goodshot.runner.data.sharding import copy_shard
from goodshot.runner.stages.base import Context, Stage, Support
from goodshot.runner.store.artifacts import Store


@dataclass(frozen=True, kw_only=True)
class ShardStage(Stage):
    """Write a category's splits. ``source`` is the URI of shards that `goodshot shard` wrote; None for a folder."""

    kind = "shard"
    title = "shard"
    version = SHARD_VERSION
    computes = False

    samples: tuple[Sample, ...] = field(repr=False)
    source: str | None = None

    @classmethod
    def of(cls, category: Category) -> ShardStage:
        """The stage of a category."""
        return cls(key=category.shard, samples=category.samples, source=category.source)

    def disk(self, wanted: Sequence[Stage]) -> int:
        """The bytes of the photographs' files."""
        return sum(s.image_path.stat().st_size for s in self.samples if s.image_path.is_file())

    def run(self, context: Context, wanted: Sequence[Stage]) -> None:
        """Write and commit the splits."""
        make_shards(self.samples, self.key, context.store, self.source)


def make_shards(samples: Sequence[Sample], key: str, store: Store, source: str | None = None) -> None:
    """Commit the non-empty splits of a category as Arrow shards, copied from ``source`` if one is given."""
    first = samples[0]
    counts = {split: sum(s.split == split for s in samples) for split in SPLITS}
    present = [split for split in SPLITS if counts[split]]
    if source is not None:
        files = {f"{split}{SUFFIX}": copy_shard(source, first.category, split) for split in present}
    else:
        files = {f"{split}{SUFFIX}": partial(_write_shard, samples, split) for split in present}
    facts: dict[str, int] = {split: counts[split] for split in present}
    store.put(key, files, {"dataset": first.dataset, "category": first.category, **facts})


def _write_shard(samples: Sequence[Sample], split: SplitName, sink: pa.NativeFile) -> None:
    write_split(samples, split, sink)


def read_support(support: Support, store: Store, size: int | None = None) -> list[np.ndarray]:
    """The originals as uint8 RGB (H, W, 3), in the support's order; resized to (size, size, 3) if ``size`` is given."""
    shard = store.get(support.shard)
    path = shard.path(f"train{SUFFIX}")
    table = read_split(path, columns=["image"], image_ids=support.ids, filesystem=shard.filesystem)
    return decode_originals(table, size)


def read_test(store: Store, shard: str, size: int, threads: int = 1) -> Split:
    """A category's test images, resized to ``size`` × ``size`` pixels, decoded by ``threads`` threads."""
    artifact = store.get(shard)
    return decode(read_split(artifact.path(f"test{SUFFIX}"), filesystem=artifact.filesystem), size, threads)
