"""From uint8 photographs to what the backbone reads. S is the detector's image size."""

import torch
import torch.nn.functional as F
from torch import Tensor

from components.detectors.base import Batch

# EfficientNet-Lite0 was trained on (x - 0.5) / 0.5, not on ImageNet's mean and deviation.
MEAN = STD = 0.5


def preprocess(image: Batch, size: int) -> Tensor:
    """Return one uint8 RGB image (H, W, 3) as float32 (1, 3, S, S) in [-1, 1].

    The resize is square, bicubic with antialiasing. Like torchvision's on float images it does not clamp, so
    values overshoot a little at edges. An image of size S already passes through unchanged.
    """
    # A copy, because torch will not wrap read-only or strided arrays (shared memory, flips).
    pixels = torch.from_numpy(image.copy(order="C")).permute(2, 0, 1).unsqueeze(0).float() / 255
    if pixels.shape[-2:] != (size, size):
        pixels = F.interpolate(pixels, (size, size), mode="bicubic", antialias=True, align_corners=False)
    return (pixels - MEAN) / STD
