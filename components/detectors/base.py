"""The types at the detectors' door: images in, raw scores out. T test images, h × w the map's size."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from components.errors import BadInput

Batch: TypeAlias = NDArray[np.uint8]
# One array (N, H, W, 3), or several of different sizes: full-size originals beside generated images of 96 px.
Images: TypeAlias = Batch | Sequence[Batch]


@dataclass(frozen=True)
class Scores:
    """Raw anomaly scores, not normalised: larger is more anomalous. The scale is the detector's own.

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
        """Learn from good images, uint8 RGB; a second call forgets the first. No test data comes here."""

    def score(self, images: Images) -> Scores:
        """Score uint8 RGB images; an image's score does not depend on the others or on their order."""


def as_batches(images: Images, name: str) -> list[Batch]:
    """Return `images` as a list of arrays (N, H, W, 3), uint8; `BadInput` names the argument that is not."""
    batches = [images] if isinstance(images, np.ndarray) else list(images)
    for batch in batches:
        if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[-1] != 3 or 0 in batch.shape[1:]:
            raise BadInput(f"{name} must be uint8 RGB (N, H, W, 3); got {batch.dtype} {batch.shape}")
    return batches
