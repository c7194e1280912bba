"""Decoded photographs and their features: values that several stages read, loaded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from components.detectors.config import DetectorConfig
from runner.stages.base import SharedValue, Support
from runner.stages.shard import read_support, read_test
from runner.store.artifacts import Store
from runner.store.fingerprint import fingerprint

if TYPE_CHECKING:
    import numpy as np

    from components.data.shards import Split
    from components.detectors import Features

LARGEST_FEATURES = 2 << 30
"""Bytes of the features of one test split that are kept: 1,000 images of PatchCore's on WideResNet-50 at 224 px take
4.8 GB."""


@dataclass(frozen=True)
class Originals(SharedValue):
    """A support's originals: a list of uint8 (H, W, 3), each of its own size."""

    support: Support

    def load(self, store: Store, inputs: Sequence[Any], device: str, threads: int) -> list[np.ndarray]:
        """Decode them. This takes no CPU of Ray's count: a generator actor that holds the last CPU waits for it."""
        return read_support(self.support, store)


@dataclass(frozen=True)
class TestImages(SharedValue):
    """A category's test images as a :class:`Split`, square-resized to ``size`` pixels."""

    __test__ = False  # pytest takes every class called Test… for a test
    takes = "cpu"
    shard: str
    size: int

    def load(self, store: Store, inputs: Sequence[Any], device: str, threads: int) -> Split:
        """Decode them by so many threads."""
        return read_test(store, self.shard, self.size, threads)


@dataclass(frozen=True)
class ImageFeatures(SharedValue):
    """A detector's features of some images; None instead of features of more than ``LARGEST_FEATURES`` bytes.

    ``reading`` identifies what the features depend on: detectors that read images alike share them.
    """

    takes = "detector"
    of: SharedValue
    reading: str
    config: DetectorConfig = field(compare=False)

    @property
    def inputs(self) -> tuple[SharedValue, ...]:
        """The images."""
        return (self.of,)

    def load(self, store: Store, inputs: Sequence[Any], device: str, threads: int) -> Features | None:
        """Embed the images."""
        from components.data.shards import Split

        (images,) = inputs
        return embed_images(self.config, images.images if isinstance(images, Split) else images, device)


def shared_features(support: Support, detector: DetectorConfig) -> tuple[ImageFeatures, ...]:
    """The features of a support's originals and of its category's test images; none if the detector shares none."""
    reading = _reading(detector)
    if reading is None:
        return ()
    images = (Originals(support), TestImages(support.shard, detector.image_size))
    return tuple(ImageFeatures(of, reading, detector) for of in images)


def embed_images(detector: DetectorConfig, images: Any, device: str = "cpu") -> Features | None:
    """Features of images (N, H, W, 3), or of N images of their own sizes; None above ``LARGEST_FEATURES`` bytes."""
    import numpy as np

    from components.detectors import SharesFeatures, build_detector
    from components.errors import BadInput

    reader = build_detector(detector, 0, device)
    if not isinstance(reader, SharesFeatures):
        raise BadInput(f"{detector.label} has no features to share")
    each = [reader.embed(image[None]) for image in images[:1]]
    if not each or each[0].nbytes * len(images) > LARGEST_FEATURES:
        return None
    return np.concatenate(each + [reader.embed(image[None]) for image in images[1:]])


@lru_cache
def _reading(detector: DetectorConfig) -> str | None:
    identity = detector.features_identity()
    return None if identity is None else fingerprint("features", 1, identity, {})
