"""The shared values: decoded photographs and their features, which several stages read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from goodshot.components.detectors.config import DetectorConfig
from goodshot.runner.stages.base import SharedValue, Support
from goodshot.runner.stages.shard import read_support, read_test
from goodshot.runner.store.artifacts import Store
from goodshot.runner.store.fingerprint import fingerprint

if TYPE_CHECKING:
    import numpy as np

    from goodshot.components.data.shards import Split
    from goodshot.components.detectors import Features

LARGEST_FEATURES = 2 << 30
"""Largest size in bytes of the shared features of one split. For comparison: PatchCore's features of 1,000 images on
WideResNet-50 at 224 px have 4.8 GB."""


@dataclass(frozen=True)
class Originals(SharedValue):
    """A support's originals: a list of uint8 RGB arrays (H, W, 3), whose sizes may differ."""

    support: Support

    def load(self, store: Store, inputs: Sequence[Any], device: str, threads: int) -> list[np.ndarray]:
        """Decode the originals. Loading reserves no CPU in Ray, because a generator actor may hold the last one."""
        return read_support(self.support, store)


@dataclass(frozen=True)
class TestImages(SharedValue):
    """A category's test images as a :class:`Split`, resized to ``size`` × ``size`` pixels."""

    __test__ = False  # pytest would collect a class whose name starts with Test
    takes = "cpu"
    shard: str
    size: int

    def load(self, store: Store, inputs: Sequence[Any], device: str, threads: int) -> Split:
        """Decode the test images by ``threads`` threads."""
        return read_test(store, self.shard, self.size, threads)


@dataclass(frozen=True)
class ImageFeatures(SharedValue):
    """A detector's features of the images ``of``; None if they have more than ``LARGEST_FEATURES`` bytes.

    ``reading`` is the fingerprint of all options that the features depend on: detectors with the same one share them.
    """

    takes = "detector"
    of: SharedValue
    reading: str
    config: DetectorConfig = field(compare=False)

    @property
    def inputs(self) -> tuple[SharedValue, ...]:
        """The images whose features are computed."""
        return (self.of,)

    def load(self, store: Store, inputs: Sequence[Any], device: str, threads: int) -> Features | None:
        """Compute the features of the images."""
        from goodshot.components.data.shards import Split

        (images,) = inputs
        return embed_images(self.config, images.images if isinstance(images, Split) else images, device)


def shared_features(support: Support, detector: DetectorConfig) -> tuple[ImageFeatures, ...]:
    """The features of a support's originals and of its category's test images; empty if the detector shares none."""
    reading = _features_fingerprint(detector)
    if reading is None:
        return ()
    images = (Originals(support), TestImages(support.shard, detector.image_size))
    return tuple(ImageFeatures(of, reading, detector) for of in images)


def embed_images(detector: DetectorConfig, images: Any, device: str = "cpu") -> Features | None:
    """Features (N, …) of uint8 images (N, H, W, 3) or of a list of N images; None above ``LARGEST_FEATURES`` bytes."""
    import numpy as np

    from goodshot.components.detectors import SharesFeatures, build_detector
    from goodshot.components.errors import BadInput

    reader = build_detector(detector, 0, device)
    if not isinstance(reader, SharesFeatures):
        raise BadInput(f"{detector.label} has no features to share")
    first = [reader.embed(image[None]) for image in images[:1]]
    if not first or first[0].nbytes * len(images) > LARGEST_FEATURES:
        return None
    return np.concatenate(first + [reader.embed(image[None]) for image in images[1:]])


@lru_cache
def _features_fingerprint(detector: DetectorConfig) -> str | None:
    identity = detector.features_identity()
    return None if identity is None else fingerprint("features", 1, identity, {})
