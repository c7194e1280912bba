"""The stages as Ray tasks, and what they read decoded.

What they compute with is imported where they run: the driver and the broker only send them off, and start in a second
and 80 MB instead of five and 700.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ray

from runner.cluster.connection import quiet_worker, start_worker, taken_of_gpu
from runner.store.artifacts import Store

if TYPE_CHECKING:
    import numpy as np

    from components.data.shards import Split
    from components.detectors import DetectorConfig, Features
    from runner.plan.costs import Memory
    from runner.plan.plan import PlannedCell, PromptStage, Support
    from runner.stages.variation import VariationStage


@ray.remote
def make_shards(samples: Any, key: str, store_uri: str, source: str | None) -> None:
    """See :func:`runner.stages.shard.make_shards`."""
    from runner.stages.stages import shard as shards

    quiet_worker()
    shards.make_shards(samples, key, Store(store_uri), source)


@ray.remote
def rank_prompts(stage: PromptStage, originals: list[np.ndarray], store_uri: str) -> None:
    """See :func:`runner.stages.stages.rank_prompts`."""
    from runner.stages.stages import stages

    start_worker(1)
    stages.rank_prompts(stage, originals, Store(store_uri))


@ray.remote
def make_variation(stage: VariationStage, store_uri: str) -> None:
    """See :func:`runner.stages.variation.make_variation`."""
    from runner.stages.stages import variation

    start_worker(1)
    variation.make_variation(stage, Store(store_uri))


# No CPU: a generator actor that holds the last one waits for this.
@ray.remote(num_cpus=0)
def decode_support(support: Support, store_uri: str) -> list[np.ndarray]:
    """See :func:`runner.stages.shard.read_support`."""
    from runner.stages.stages import shard as shards

    quiet_worker()
    return shards.read_support(support, Store(store_uri))


@ray.remote
def decode_test(shard: str, size: int, store_uri: str, threads: int) -> Split:
    """See :func:`runner.stages.shard.read_test`."""
    from runner.stages.stages import shard as shards

    quiet_worker()
    return shards.read_test(Store(store_uri), shard, size, threads)


@ray.remote
def embed(detector: DetectorConfig, images: Split | Sequence[np.ndarray], device: str, threads: int) -> Features | None:
    """See :func:`runner.stages.stages.embed_images`."""
    from components.data.shards import Split
    from runner.stages.stages import stages

    start_worker(threads)
    return stages.embed_images(detector, images.images if isinstance(images, Split) else images, device)


@ray.remote
def detect(
    planned: PlannedCell,
    originals: list[np.ndarray],
    test: Split,
    store_uri: str,
    out: str,
    device: str,
    threads: int,
    *features: Features | None,
) -> tuple[dict[str, Any], Memory | None]:
    """See :func:`runner.stages.stages.detect`; and what it has taken of a GPU."""
    from runner.results.results import Results
    from runner.stages.stages import stages

    start_worker(threads)
    shared = stages.SharedFeatures(*features)
    row = stages.detect(planned, originals, test, Store(store_uri), Results(out), device, shared)
    return row, taken_of_gpu(device)
