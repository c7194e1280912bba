"""From uint8 photographs to a backbone's input. S is the side after the resize, C after the crop."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from goodshot.components.data.crop import margin
from goodshot.components.detectors.backbones import EMBEDDED_BACKBONE
from goodshot.components.detectors.base import Batch


@dataclass(frozen=True)
class Reading:
    """A backbone's preprocessing of images in [0, 1]: resized by `mode`, antialiased, then (x − mean) / std."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    mode: str


# EfficientNet-Lite0 was trained on (x - 0.5) / 0.5, not on ImageNet's mean and deviation.
LITE0 = Reading((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic")
# anomalib's preprocessing for every other network, whatever the network was trained on.
IMAGENET = Reading((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear")


def reading_of(backbone: str | None) -> Reading:
    """The preprocessing of this backbone."""
    return LITE0 if backbone == EMBEDDED_BACKBONE else IMAGENET


def preprocess(image: Batch, size: int, crop: int | None = None, reading: Reading = LITE0) -> Tensor:
    """Return one uint8 RGB image (H, W, 3) as float32 (1, 3, C, C): resized to S × S, centre-cropped, normalised.

    The resize is square and antialiased. Like torchvision's on float images it does not clamp, so bicubic values
    overshoot a little at edges. An image of size S is not resized.
    """
    return normalised(middle(resized(as_float(image)[None], size, reading.mode), crop), reading)


def as_float(image: Batch) -> Tensor:
    """One uint8 RGB image (H, W, 3) as float32 (3, H, W) in [0, 1].

    A copy, because torch does not accept read-only or strided arrays (shared memory, flips).
    """
    return torch.from_numpy(image.copy(order="C")).permute(2, 0, 1).float() / 255


def resized(pixels: Tensor, size: int, mode: str) -> Tensor:
    """(1, 3, H, W) → (1, 3, S, S)."""
    if pixels.shape[-2:] == (size, size):
        return pixels
    return F.interpolate(pixels, (size, size), mode=mode, antialias=True, align_corners=False)


def middle(pixels: Tensor, crop: int | None) -> Tensor:
    """(…, S, S) → the centre crop (…, C, C)."""
    if crop is None:
        return pixels
    start = margin(pixels.shape[-1], crop)
    return pixels[..., start : start + crop, start : start + crop]


def normalised(pixels: Tensor, reading: Reading) -> Tensor:
    """(…, 3, h, w) in [0, 1] → the value range that the backbone was trained on."""
    return (pixels - pixels.new_tensor(reading.mean)[:, None, None]) / pixels.new_tensor(reading.std)[:, None, None]
