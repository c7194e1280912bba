"""A pretrained trunk as a classifier of defect types."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Classes(nn.Module):
    """A trunk whose logits are those of defect types, for images in [−1, 1].

    Args:
        mean, std: the normalisation of the trunk's input, (x − mean) / std for images x in [0, 1].
        keeps_statistics: whether batch normalisation keeps the pretrained statistics. The statistics of made images
            differ from those of the real test images, and small batches give noisy statistics.
    """

    def __init__(
        self,
        trunk: nn.Module,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        keeps_statistics: bool,
    ) -> None:
        super().__init__()
        self.trunk, self._keeps_statistics = trunk, keeps_statistics
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def train(self, mode: bool = True) -> Classes:
        """Set the training mode; batch normalisation with kept statistics stays in evaluation mode."""
        super().train(mode)
        if self._keeps_statistics:
            for module in self.trunk.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, R, R) in [−1, 1] → logits (B, types)."""
        logits: Tensor = self.trunk((images / 2 + 0.5 - self.get_buffer("mean")) / self.get_buffer("std"))
        return logits
