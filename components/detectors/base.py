"""The interface of detectors: images in, raw scores out. T test images, h × w the map's size."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from goodshot.components.errors import BadInput

Batch: TypeAlias = NDArray[np.uint8]
# One array (N, H, W, 3), or several of different sizes: full-size originals and generated images of 96 px.
Images: TypeAlias = Batch | Sequence[Batch]

Features: TypeAlias = NDArray[np.float32]
"""The features of N images: (N, …); the other axes depend on the detector."""


@dataclass(frozen=True)
class Scores:
    """Raw anomaly scores, not normalised: larger is more anomalous. Each detector has its own scale.

    image: float32 (T,). maps: float32 (T, h, w) at the detector's `image_size`.
    """

    image: NDArray[np.float32]
    maps: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.image.ndim != 1 or self.maps.ndim != 3 or len(self.image) != len(self.maps):
            raise BadInput(f"scores are (T,) and (T, h, w); got {self.image.shape} and {self.maps.shape}")


class Detector(Protocol):
    """An anomaly detector: `fit` once on good images, then `score` any number of test sets."""

    def fit(self, train: Images) -> None:
        """Learn from good images, uint8 RGB; a second call replaces the first. Test data is never passed."""

    def score(self, images: Images) -> Scores:
        """Score uint8 RGB images; an image's score does not depend on the others or on their order."""


@runtime_checkable
class SharesFeatures(Detector, Protocol):
    """A detector whose frozen network reads an image before anything is learnt, so that all fits share the features.

    `fit` and `score` equal the composition of these three methods, image by image, so that features computed once give
    the same numbers. Detectors with equal `DetectorConfig.features_identity` have equal features.
    """

    def embed(self, images: Images) -> Features:
        """The features of uint8 RGB images, which depend on no other image and on no fit."""

    def fit_features(self, train: Sequence[Features]) -> None:
        """`fit` on images given by their features."""

    def score_features(self, images: Features) -> Scores:
        """`score` images given by their features."""


def as_batches(images: Images, name: str) -> list[Batch]:
    """Return `images` as a list of arrays (N, H, W, 3), uint8; raises `BadInput` with the argument's name otherwise."""
    batches = [images] if isinstance(images, np.ndarray) else list(images)
    for batch in batches:
        if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[-1] != 3 or 0 in batch.shape[1:]:
            raise BadInput(f"{name} must be uint8 RGB (N, H, W, 3); got {batch.dtype} {batch.shape}")
    return batches
