"""A trained U-Net: its scores of images, and its weights as bytes.

# N images, R × R pixels of the segmenter's resolution
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import safetensors.torch as st
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from goodshot.components.detectors.base import Scores
from goodshot.components.fitting.inputs import at_resolution, outputs
from goodshot.components.segmenters.config import SegmenterConfig
from goodshot.components.segmenters.unet import UNet
from goodshot.components.stored import load_exactly, tensors_in

RGB = NDArray[np.uint8]


class TrainedSegmenter:
    """A U-Net with the weights of its chosen checkpoint."""

    def __init__(self, network: nn.Module, config: SegmenterConfig, device: torch.device) -> None:
        self._network, self.config, self._device = network.to(device).eval(), config, device

    def score(self, images: Sequence[RGB] | RGB) -> Scores:
        """The scores of uint8 RGB images of any sizes.

        Maps (N, R, R) are probabilities in [0, 1] at the segmenter's resolution; an image's score is the maximum of its
        map after average pooling, as in DRAEM (zeros count beyond the border). It depends on no other image.
        """
        maps = maps_of(self._network, at_resolution(images, self.config.resolution), self._device)
        window = self.config.window_pixels
        pooled = F.avg_pool2d(torch.from_numpy(maps)[:, None], window, stride=1, padding=window // 2)
        return Scores(pooled.amax((1, 2, 3)).numpy(), maps)

    def state(self) -> bytes:
        """The weights as safetensors."""
        return st.save({name: value.cpu().contiguous() for name, value in self._network.state_dict().items()})


def segmenter_from(state: bytes, config: SegmenterConfig, device: str) -> TrainedSegmenter:
    """The segmenter of :meth:`TrainedSegmenter.state`. Raises :class:`BadInput` for another architecture's weights."""
    network = network_of(config)
    load_exactly(network, tensors_in(state, "segmenter")[0], "segmenter")
    return TrainedSegmenter(network, config, torch.device(device))


def network_of(config: SegmenterConfig) -> UNet:
    """A U-Net of the configured size, with new weights."""
    return UNet(config.channels, config.levels)


def maps_of(network: nn.Module, images: RGB, device: torch.device) -> NDArray[np.float32]:
    """The probability of each pixel of images (N, R, R, 3), (N, R, R)."""
    maps: NDArray[np.float32] = outputs(network, images, device)[:, 0].sigmoid().numpy()
    return maps
