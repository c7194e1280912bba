"""LPIPS on VGG-16 (Zhang et al. 2018, arXiv:1801.03924), VQGAN's perceptual loss, with the published parameters' names.

Published VQGAN checkpoints hold its weights below ``loss.perceptual_loss``, so it needs no download of its own.

# B images in [−1, 1], (B, 3, H, W)
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from goodshot.components.errors import BadInput

# VGG-16's convolutions by stage; a stage ends at the ReLU whose output is compared, the next begins by pooling.
_STAGES: Final = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class LPIPS(nn.Module):
    """Learned perceptual distance: channel-normalised features, squared differences weighted by channel, averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.scaling_layer = _Scaling()
        self.net = _VGG16()
        for n, widths in enumerate(_STAGES):
            self.add_module(f"lin{n}", _ChannelWeights(widths[-1]))

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Two batches (B, 3, H, W) in [−1, 1] → the mean distance, a scalar ≥ 0."""
        pairs = zip(self._features(reconstruction), self._features(target), strict=True)
        total = reconstruction.new_zeros(())
        for n, (got, want) in enumerate(pairs):
            total = total + self.get_submodule(f"lin{n}")((_unit(got) - _unit(want)).pow(2)).mean()
        return total

    def compared(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [−1, 1] → weighted features (B, C, h, w) by layer: their squared differences are summed."""
        channels = [dict(self.named_parameters())[f"lin{n}.model.1.weight"] for n in range(len(_STAGES))]
        # Published weights are never negative.
        roots = [weight[:, :, 0, 0].clamp_min(0).sqrt()[..., None, None] for weight in channels]
        return [_unit(features) * root for features, root in zip(self._features(images), roots, strict=True)]

    def _features(self, images: Tensor) -> list[Tensor]:
        features: list[Tensor] = self.net(self.scaling_layer(images))
        return features


def load_lpips(weights: dict[str, Tensor], path: Path) -> LPIPS:
    """LPIPS in evaluation mode, frozen, with a checkpoint's weights.

    Raises :class:`BadInput` if the checkpoint at ``path``, where the weights come from, does not contain all of them.
    """
    network = LPIPS()
    if missing := sorted(network.state_dict().keys() - weights.keys()):
        raise BadInput(f"{path}: holds no LPIPS (no loss.perceptual_loss.{missing[0]}); set generator.perceptual=lite0")
    network.load_state_dict(weights, strict=True)
    return network.eval().requires_grad_(False)


def lpips_of_trunk(trunk: dict[str, Tensor], channels: dict[str, Tensor]) -> LPIPS:
    """LPIPS in evaluation mode, frozen, on torchvision's VGG-16.

    Args:
        trunk: torchvision's ``vgg16`` (``features.N.weight`` …); its classifier is ignored.
        channels: the published weights of the channels (``linN.model.1.weight``).
    """
    network = LPIPS()
    for stage in network.net.children():
        for number, layer in stage.named_children():
            if isinstance(layer, nn.Conv2d):
                layer.load_state_dict({part: trunk[f"features.{number}.{part}"] for part in ("weight", "bias")})
    missing, unexpected = network.load_state_dict(channels, strict=False)
    if unexpected or any(name.startswith("lin") for name in missing):
        raise BadInput("LPIPS: these are not the published channel weights of its VGG-16 form")
    return network.eval().requires_grad_(False)


def _unit(features: Tensor) -> Tensor:
    return features / (features.pow(2).sum(1, keepdim=True).sqrt() + 1e-10)


class _Scaling(nn.Module):
    """[−1, 1] → the input range that VGG-16 was trained on. The values are in the checkpoint too."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188])[None, :, None, None])
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450])[None, :, None, None])

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.get_buffer("shift")) / self.get_buffer("scale")


class _VGG16(nn.Module):
    """The five stages, their layers numbered as in torchvision's ``vgg16().features``."""

    def __init__(self) -> None:
        super().__init__()
        number, width_in = 0, 3
        for n, widths in enumerate(_STAGES, start=1):
            stage = nn.Sequential()
            if n > 1:
                stage.add_module(str(number), nn.MaxPool2d(2))
                number += 1
            for width in widths:
                stage.add_module(str(number), nn.Conv2d(width_in, width, 3, padding=1))
                stage.add_module(str(number + 1), nn.ReLU())
                number, width_in = number + 2, width
            self.add_module(f"slice{n}", stage)

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for stage in self.children():
            x = stage(x)
            features.append(x)
        return features


class _ChannelWeights(nn.Module):
    """One weight per channel. Its index is 1, because the published module has dropout at index 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.model = nn.ModuleDict({"1": nn.Conv2d(channels, 1, 1, bias=False)})

    def forward(self, x: Tensor) -> Tensor:
        weighted: Tensor = self.model["1"](x)
        return weighted
