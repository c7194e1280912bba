"""ε_θ(x_t, e_t, t): the diffusion base, the fused embeddings in its cross-attention (eq. 13), Table 6's switches.

# B images, k tokens of each modality, n tokens in all, d their width
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from goodshot.components.errors import BadInput
from goodshot.components.fusion.base import Base
from goodshot.components.fusion.config import FusionConfig
from goodshot.components.fusion.embeddings import (
    Aggregator,
    DynamicFusion,
    LocationEmbedding,
    SemanticEmbedding,
    TexturalEmbedding,
)
from goodshot.components.fusion.mask_encoder import MaskEncoder


class Condition(NamedTuple):
    """The conditions of B images: text features (B, D), masks (B, 1, 112, 112), indices of defect types (B,)."""

    text: Tensor
    masks: Tensor
    types: Tensor


class FusionModel(nn.Module):
    """The whole network. The network does not contain parts that a switch turns off.

    Args:
        config: the switches, k, and whether the base is trained.
        base: the diffusion base.
        encoder: the mask encoder, which is fine-tuned.
        initial: (types, k, D), the start of the textural tokens.
    """

    def __init__(self, config: FusionConfig, base: Base, encoder: MaskEncoder, initial: Tensor) -> None:
        super().__init__()
        d, k, dim = base.width, config.tokens, initial.shape[-1]
        if config.mif and d % config.heads:
            raise BadInput(f"fusion: heads = {config.heads} must divide the base's width {d}")
        self.semantic = SemanticEmbedding(dim, k, d) if config.text else None
        self.location = LocationEmbedding(encoder, k, d) if config.mif else None
        self.textural = TexturalEmbedding(initial, d)
        self.aggregator = Aggregator(d, config.heads) if config.mif else None
        self.dynamic = DynamicFusion(d) if config.ddf else None
        self.base = base
        base.codec.requires_grad_(False)
        base.unet.requires_grad_(config.trains == "all")
        if base.null is not None:
            base.null.requires_grad_(False)

    def x_embedding(self, condition: Condition) -> Tensor:
        """e_X, (B, n, d): the tokens of all modalities (eq. 4), aggregated (eq. 5)."""
        tokens = [] if self.semantic is None else [self.semantic(condition.text)]
        if self.location is not None:
            tokens.append(self.location(condition.masks))
        fused = torch.cat([*tokens, self.textural(condition.types)], dim=1)
        return fused if self.aggregator is None else self.aggregator(fused)

    def embedding_at(self, x_embedding: Tensor, timesteps: Tensor) -> Tensor:
        """e_t, (B, n, d), of e_X at the timesteps (B,) (eq. 14)."""
        return x_embedding if self.dynamic is None else self.dynamic(x_embedding, timesteps)

    def forward(self, x_t: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        """ε_θ: x_t (B, C, h, w), timesteps (B,) → the predicted noise (B, C, h, w)."""
        noise: Tensor = self.base(x_t, timesteps, self.embedding_at(self.x_embedding(condition), timesteps))
        return noise

    def parameters_by_part(self) -> dict[str, int]:
        """The number of parameters of each part, 0 if it is switched off. ``base`` is ε_θ without its codec."""
        parts = {name: getattr(self, name) for name in ("semantic", "location", "textural", "aggregator", "dynamic")}
        parts["base"] = self.base.unet
        return {name: sum(p.numel() for p in part.parameters()) if part else 0 for name, part in parts.items()}
