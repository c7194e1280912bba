"""The U-Net (Ronneberger et al. 2015, arXiv:1505.04597), with padded convolutions, so that a map has the image's size.

# B images, R × R pixels, C channels of the first level
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class UNet(nn.Module):
    """(B, 3, R, R) in [−1, 1] → logits (B, 1, R, R); R is a multiple of 2^levels.

    Level l has C·2^l channels. Batch normalisation is used, as in DRAEM: with group normalisation the network learnt
    nothing in the few hundred steps of the small configuration.
    """

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        widths = [channels * 2**level for level in range(levels + 1)]
        self.first = _convolutions(3, widths[0])
        self.down = nn.ModuleList(_convolutions(a, b) for a, b in itertools.pairwise(widths))
        upward = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.reduce = nn.ModuleList(nn.Conv2d(wide, narrow, 3, padding=1) for wide, narrow in upward)
        self.up = nn.ModuleList(_convolutions(2 * narrow, narrow) for _, narrow in upward)
        self.last = nn.Conv2d(channels, 1, 1)
        # Few pixels are defective: training starts at a probability of 1 %, not of 50 %.
        nn.init.constant_(self.last.get_parameter("bias"), -4.6)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, R, R) → (B, 1, R, R)."""
        features = [self.first(images)]
        for down in self.down:
            features.append(down(F.max_pool2d(features[-1], 2)))
        x = features.pop()
        for reduce, up in zip(self.reduce, self.up, strict=True):
            enlarged = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = up(torch.cat([reduce(enlarged), features.pop()], 1))
        logits: Tensor = self.last(x)
        return logits


def _convolutions(channels_in: int, channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (channels_in, channels):
        layers += [
            nn.Conv2d(width, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
