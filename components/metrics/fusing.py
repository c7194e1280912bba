"""Combine the scores of a detector that learned good images and a segmenter that learned made defects.

Both are brought to one scale and averaged with a weight. Scale and weight are chosen on a validation set of synthetic
anomalies (planted or made defects on good images, and good images), and never on test images. Neither system may
have been trained on these images: a segmenter is nearly perfect on defects that it has learnt. The caller holds out
some good photographs; if all are used for training, the choice favours the detector, and the runner says so.

# T images, h × w the size of the detector's maps
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from goodshot.components.detectors.base import Scores
from goodshot.components.errors import BadInput
from goodshot.components.metrics.detection import image_auroc
from goodshot.components.metrics.pixels import Pixels, measure

WEIGHTS = tuple(i / 20 for i in range(21))
"""The candidate weights w of the segmenter; the detector's weight is 1 − w."""
HIGH = 0.99
"""The quantile of anomalous scores that becomes 1. The maximum is not used, because it is a single pixel's score."""

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Scale:
    """A linear map of scores: ``low`` becomes 0, ``high`` becomes 1. Not clipped, so that it makes no ties."""

    low: float
    high: float

    def __call__(self, scores: Float) -> Float:
        """Scores of any shape on the common scale."""
        return ((scores - np.float32(self.low)) / np.float32(self.high - self.low)).astype(np.float32)


@dataclass(frozen=True)
class Pair:
    """How two systems' scores of one kind, of images or of pixels, are combined. weight: the segmenter's, in [0, 1]."""

    detector: Scale
    segmenter: Scale
    weight: float

    def __call__(self, detector: Float, segmenter: Float) -> Float:
        """The weighted mean of both on the common scale, of the same shape."""
        fused: Float = (1 - self.weight) * self.detector(detector) + self.weight * self.segmenter(segmenter)
        return fused.astype(np.float32)


@dataclass(frozen=True)
class Fusion:
    """How a detector's and a segmenter's scores become one."""

    image: Pair
    maps: Pair

    def __call__(self, detector: Scores, segmenter: Scores) -> Scores:
        """The fused scores of T images, on no particular scale; maps (T, h, w) have the size of the detector's.

        The segmenter's maps are resized bilinearly. An image's score depends on no other image.
        """
        _check(detector, segmenter)
        return Scores(
            self.image(detector.image, segmenter.image),
            self.maps(detector.maps, resized_maps(segmenter.maps, detector.maps.shape[1:])),
        )


def choose_fusion(
    detector: Scores,
    segmenter: Scores,
    labels: Sequence[int] | NDArray[np.bool_],
    masks: NDArray[np.bool_],
    weights: Sequence[float] = WEIGHTS,
) -> Fusion:
    """Choose scales and weights on a validation set of synthetic anomalies and good images.

    A scale maps the median of good images' scores to 0 and the `HIGH` quantile of anomalous ones to 1. The weight is
    that of the largest AUROC of images, and average precision of pixels; among equally good ones that nearest to ½,
    then the smaller, because a validation set on which both systems are perfect prefers neither.

    Args:
        detector, segmenter: their scores of the same T validation images.
        labels: (T,), true for an image with a synthetic anomaly.
        masks: bool (T, h, w) at the detector's maps' size, False for good images.
        weights: the segmenter's weights to choose from.

    Raises:
        BadInput: numbers differ, or the set lacks good images, anomalous images or marked pixels.
    """
    _check(detector, segmenter)
    anomalous = np.asarray(labels).astype(bool)
    if len(anomalous) != len(detector.image) or masks.shape != detector.maps.shape:
        raise BadInput(
            f"fusion: {len(detector.image)} images with maps {detector.maps.shape} need as many labels and masks; "
            f"got {len(anomalous)} labels and masks {masks.shape}"
        )
    if anomalous.all() or not anomalous.any() or not masks.any():
        raise BadInput("fusion: the validation set needs good images and synthetic anomalies with their masks")
    maps = resized_maps(segmenter.maps, detector.maps.shape[1:])
    of_images = tuple(_scale(each.image[~anomalous], each.image[anomalous]) for each in (detector, segmenter))
    of_pixels = tuple(_scale(each[~anomalous], each[masks]) for each in (detector.maps, maps))
    return Fusion(
        _best(
            [Pair(of_images[0], of_images[1], weight) for weight in weights],
            lambda pair: image_auroc(pair(detector.image, segmenter.image), anomalous),
        ),
        _best(
            [Pair(of_pixels[0], of_pixels[1], weight) for weight in weights],
            lambda pair: float(measure(Pixels(pair(detector.maps, maps), masks))[0].ranking.ap),
        ),
    )


def resized_maps(maps: Float, size: tuple[int, ...]) -> Float:
    """Maps (T, h, w) → (T, *size), bilinear, one at a time."""
    if maps.shape[1:] == size:
        return maps
    resized = (
        F.interpolate(torch.from_numpy(np.array(one))[None, None], size, mode="bilinear", align_corners=False)[0, 0]
        for one in maps
    )
    return np.stack([one.numpy() for one in resized])


def _scale(good: Float, anomalous: Float) -> Scale:
    low, high = float(np.median(good)), float(np.quantile(anomalous, HIGH))
    # Scores that do not separate the classes are only shifted: they must not be inverted or divided by zero.
    return Scale(low, high if high > low else low + 1)


def _best(pairs: Sequence[Pair], merit: Callable[[Pair], float]) -> Pair:
    """The pair of the largest merit; of equal ones that whose weight is nearest to ½, then the smaller weight."""
    return max(pairs, key=lambda pair: (merit(pair), -abs(pair.weight - 0.5), -pair.weight))


def _check(detector: Scores, segmenter: Scores) -> None:
    if len(detector.image) != len(segmenter.image):
        raise BadInput(
            f"fusion: the detector has scores of {len(detector.image)} images, the segmenter of {len(segmenter.image)}"
        )
