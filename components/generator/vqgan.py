"""The VQGAN network of Esser et al. 2021 (arXiv:2012.09841), with the published checkpoints' parameter names.

# B batch, H × W pixels, h × w latent positions (D = h·w in the paper), C latent channels, K codebook entries
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from goodshot.components.generator.config import VQGANConfig


class Quantised(NamedTuple):
    """Quantised latents (B, C, h, w) with straight-through gradients, and their codebook indices (B, h, w)."""

    latents: Tensor
    codes: Tensor
    indices: Tensor


class VQGAN(nn.Module):
    """Encoder, codebook and decoder. Images are (B, 3, H, W) in [−1, 1]; H and W are multiples of f."""

    def __init__(self, config: VQGANConfig, resolution: int) -> None:
        super().__init__()
        c = config.latent_channels
        base = config.base_resolution or resolution
        self.encoder = Encoder(config, base)
        self.decoder = Decoder(config, base)
        self.quantize = Codebook(config.codebook_size, c)
        self.quant_conv = nn.Conv2d(c, c, 1)
        self.post_quant_conv = nn.Conv2d(c, c, 1)

    def encode(self, images: Tensor) -> Tensor:
        """Images → continuous latents (B, C, h, w), before quantising: q_d of eq. 2."""
        latents: Tensor = self.quant_conv(self.encoder(images))
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w), quantised or sampled, → images (B, 3, H, W), about [−1, 1]."""
        images: Tensor = self.decoder(self.post_quant_conv(latents))
        return images


class Codebook(nn.Module):
    """K vectors; each latent is assigned to its nearest in L2 (eq. 2)."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size, dim)
        nn.init.uniform_(self.embedding.weight, -1 / size, 1 / size)

    def forward(self, latents: Tensor) -> Quantised:
        """Latents (B, C, h, w) → their nearest codebook vectors, in fp32 even within mixed precision."""
        # Distances are small differences of large numbers: in bf16 many latents would be assigned to other codes.
        with torch.autocast(latents.device.type, enabled=False):
            return self._nearest(latents.float())

    def _nearest(self, latents: Tensor) -> Quantised:
        b, c, h, w = latents.shape
        flat = latents.permute(0, 2, 3, 1).reshape(-1, c)
        weight = self.embedding.weight
        distance = flat.pow(2).sum(1, keepdim=True) - 2 * flat @ weight.T + weight.pow(2).sum(1)
        indices = distance.argmin(1)
        codes = self.embedding(indices).view(b, h, w, c).permute(0, 3, 1, 2)
        return Quantised(latents + (codes - latents).detach(), codes, indices.view(b, h, w))


class Encoder(nn.Module):
    """Strided residual stages, a middle with attention, and a projection to the latent channels."""

    def __init__(self, config: VQGANConfig, resolution: int) -> None:
        super().__init__()
        groups, ch = config.norm_groups, config.channels
        widths = [ch * m for m in config.channel_multipliers]
        self.conv_in = nn.Conv2d(3, ch, 3, padding=1)
        self.down = nn.ModuleList()
        width_in = ch
        for level, width in enumerate(widths):
            attend = resolution // 2**level in config.attention_resolutions
            stage = Stage(width_in, width, config.res_blocks, groups, attend)
            if level < len(widths) - 1:
                stage.add_module("downsample", Downsample(width))
            self.down.append(stage)
            width_in = width
        self.mid = Middle(width_in, groups)
        self.norm_out = nn.GroupNorm(groups, width_in, eps=1e-6)
        self.conv_out = nn.Conv2d(width_in, config.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, C, h, w)."""
        x = self.conv_in(x)
        for stage in self.down:
            x = stage(x)
        x = self.mid(x)
        out: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return out


class Decoder(nn.Module):
    """The encoder's mirror, with one residual block more per stage. ``up[i]`` is the stage of level i."""

    def __init__(self, config: VQGANConfig, resolution: int) -> None:
        super().__init__()
        groups = config.norm_groups
        widths = [config.channels * m for m in config.channel_multipliers]
        width_in = widths[-1]
        self.conv_in = nn.Conv2d(config.latent_channels, width_in, 3, padding=1)
        self.mid = Middle(width_in, groups)
        stages: list[nn.Module] = []
        for level in reversed(range(len(widths))):
            attend = resolution // 2**level in config.attention_resolutions
            stage = Stage(width_in, widths[level], config.res_blocks + 1, groups, attend)
            if level > 0:
                stage.add_module("upsample", Upsample(widths[level]))
            stages.insert(0, stage)
            width_in = widths[level]
        self.up = nn.ModuleList(stages)
        self.norm_out = nn.GroupNorm(groups, width_in, eps=1e-6)
        self.conv_out = nn.Conv2d(width_in, 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """(B, C, h, w) → (B, 3, H, W)."""
        out: Tensor = self.conv_out(self.features(z))
        return out

    def features(self, z: Tensor) -> Tensor:
        """(B, C, h, w) → the last layer's input (B, channels, H, W); the adaptive weight uses that layer."""
        x = self.mid(self.conv_in(z))
        for stage in reversed(self.up):
            x = stage(x)
        return F.silu(self.norm_out(x))


class ResnetBlock(nn.Module):
    """Two normalised, swish-activated 3×3 convolutions around a (projected) identity."""

    def __init__(self, width_in: int, width: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, width_in, eps=1e-6)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, width, eps=1e-6)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        if width_in != width:
            self.nin_shortcut = nn.Conv2d(width_in, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) → (B, C_out, H, W)."""
        y = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        shortcut: Tensor = self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x
        out: Tensor = shortcut + y
        return out


class AttentionBlock(nn.Module):
    """Single-head self-attention over positions, projections by 1×1 convolutions, scale C^−½."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.q = nn.Conv2d(width, width, 1)
        self.k = nn.Conv2d(width, width, 1)
        self.v = nn.Conv2d(width, width, 1)
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same shape."""
        b, c, h, w = x.shape
        y = self.norm(x)
        q, k, v = (conv(y).flatten(2).transpose(1, 2) for conv in (self.q, self.k, self.v))
        attended = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = x + self.proj_out(attended.transpose(1, 2).reshape(b, c, h, w))
        return out


class Downsample(nn.Module):
    """Halve the side: pad right and bottom by one, then a 3×3 convolution of stride 2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C, H/2, W/2)."""
        out: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return out


class Upsample(nn.Module):
    """Double the side: nearest neighbour, then a 3×3 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C, 2H, 2W)."""
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


class Stage(nn.Module):
    """One resolution: residual blocks, each followed by attention if ``attend``, then the change of resolution."""

    def __init__(self, width_in: int, width: int, blocks: int, groups: int, attend: bool) -> None:
        super().__init__()
        widths = [width_in] + [width] * blocks
        self.block = nn.ModuleList(ResnetBlock(widths[i], width, groups) for i in range(blocks))
        self.attn = nn.ModuleList(AttentionBlock(width, groups) for _ in range(blocks if attend else 0))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) → (B, C_out, H', W')."""
        for i, block in enumerate(self.block):
            x = block(x)
            if len(self.attn):
                x = self.attn[i](x)
        for name in ("downsample", "upsample"):
            resample = self._modules.get(name)
            x = x if resample is None else resample(x)
        return x


class Middle(nn.Module):
    """The lowest resolution: block, attention, block."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(width, width, groups)
        self.attn_1 = AttentionBlock(width, groups)
        self.block_2 = ResnetBlock(width, width, groups)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same shape."""
        out: Tensor = self.block_2(self.attn_1(self.block_1(x)))
        return out
