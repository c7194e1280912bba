"""The diffused space: pixels, the latent space of the embedded VQGAN, or that of a published autoencoder.

# B images, R × R pixels, C channels of the diffused tensor, h × w its positions
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from goodshot.components.fusion.config import BaseConfig
from goodshot.components.generator.config import EMBEDDED_NETWORK


class Codec(nn.Module):
    """Converts images (B, 3, R, R) in [−1, 1] to (B, C, h, w) and back. It is not trained with the diffusion model."""

    channels: int
    factor: int
    """Pixels per position along one side."""
    bounded = False
    """Whether encoded images lie in [−1, 1], to which a sampler may then clip."""

    identity = ""
    """The SHA-256 of embedded weights that are not saved with a base."""

    def fit(self, images: Tensor) -> None:
        """Choose the scale by good images, once, before the diffusion base is trained."""

    def encode(self, images: Tensor) -> Tensor:
        """Encode images, (B, 3, R, R) in [−1, 1], into the diffused tensor, (B, C, h, w)."""
        raise NotImplementedError

    def decode(self, latents: Tensor) -> Tensor:
        """Decode the diffused tensor, (B, C, h, w), into images of about [−1, 1], (B, 3, R, R)."""
        raise NotImplementedError


class PixelCodec(Codec):
    """Squares of patch × patch pixels become channels: nothing is lost, and the network has fewer positions."""

    bounded = True

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.factor, self.channels = patch, 3 * patch**2

    def encode(self, images: Tensor) -> Tensor:
        """Encode images; see :meth:`Codec.encode`."""
        return F.pixel_unshuffle(images, self.factor)

    def decode(self, latents: Tensor) -> Tensor:
        """Decode into images; see :meth:`Codec.decode`."""
        return F.pixel_shuffle(latents, self.factor)


class VQGANCodec(Codec):
    """The frozen VQGAN embedded in goodshot: its unquantised latents, standardised by channel."""

    def __init__(self) -> None:
        super().__init__()
        from goodshot.components.generator.start import load_into, read_start
        from goodshot.components.generator.start_file import start_file
        from goodshot.components.generator.vqgan import VQGAN

        self.factor, self.channels = EMBEDDED_NETWORK.downsampling, EMBEDDED_NETWORK.latent_channels
        file = start_file("embedded")
        assert file is not None  # noqa: S101 - only scratch has no file
        self.identity = file.sha256
        vqgan = VQGAN(EMBEDDED_NETWORK, resolution=64)
        load_into(vqgan, read_start(file.path), file.path)
        self.vqgan = vqgan.requires_grad_(False)
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(1, self.channels, 1, 1))
        self.register_buffer("deviation", torch.ones(1, self.channels, 1, 1))

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Choose the scale so that channels have zero mean and unit variance on these images."""
        latents = self.vqgan.encode(images)
        self.mean.copy_(latents.mean((0, 2, 3), keepdim=True))
        self.deviation.copy_(latents.std((0, 2, 3), keepdim=True))

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Encode images; see :meth:`Codec.encode`."""
        scaled: Tensor = (self.vqgan.encode(images) - self.mean) / self.deviation
        return scaled

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode into images; see :meth:`Codec.decode`."""
        return self.vqgan.decode(latents * self.deviation + self.mean)


class PublishedCodec(Codec):
    """diffusers' AutoencoderKL (its mean, no noise) or VQModel, frozen, with the published scaling factor."""

    def __init__(self, autoencoder: Any) -> None:
        super().__init__()
        self.autoencoder = autoencoder.requires_grad_(False).eval()
        self.scale = float(autoencoder.config.get("scaling_factor") or 1.0)
        self.factor = 2 ** (len(autoencoder.config["block_out_channels"]) - 1)
        self.channels = int(autoencoder.config["latent_channels"])

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Encode images; see :meth:`Codec.encode`."""
        encoded = self.autoencoder.encode(images)
        latents: Tensor = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
        return latents * self.scale

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode into images; see :meth:`Codec.decode`."""
        images: Tensor = self.autoencoder.decode(latents / self.scale).sample
        return images


CODECS: Mapping[str, Callable[[BaseConfig], Codec]] = MappingProxyType(
    {"pixels": lambda config: PixelCodec(config.patch), "latents": lambda config: VQGANCodec()}
)
"""``BaseConfig.space`` → its codec."""
