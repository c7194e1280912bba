"""The embeddings of the three modalities, and their fusion to the X-embedding (Multi-modal In-Fusion, eq. 1–5).

# B images, k tokens of each modality, n tokens in all, D the encoder's dimension, d the width of cross-attention
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from goodshot.components.fusion.mask_encoder import MaskEncoder


class SemanticEmbedding(nn.Module):
    """Eq. 1: the frozen encoder's text feature, k times, L2-normalised, then a linear layer to d."""

    def __init__(self, dim: int, tokens: int, width: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.linear = nn.Linear(dim, width)

    def forward(self, text: Tensor) -> Tensor:
        """Text features (B, D) → (B, k, d)."""
        repeated = F.normalize(text, dim=-1).unsqueeze(1).expand(-1, self.tokens, -1)
        tokens: Tensor = self.linear(repeated)
        return tokens


class LocationEmbedding(nn.Module):
    """Eq. 2: the mask encoder, fine-tuned, then one convolution to k channels and a linear layer to d.

    BatchNorm keeps the statistics of the autoencoder's training, so that an embedding does not depend on the batch.
    """

    def __init__(self, encoder: MaskEncoder, tokens: int, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.conv = nn.Conv2d(encoder.channels[-1], tokens, 3, padding=1)
        self.linear = nn.Linear(encoder.side**2, width)

    def train(self, mode: bool = True) -> LocationEmbedding:
        """Set the training mode; the mask encoder stays in evaluation mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, masks: Tensor) -> Tensor:
        """Masks (B, 1, 112, 112) → (B, k, d)."""
        tokens: Tensor = self.linear(self.conv(self.encoder(masks)).flatten(2))
        return tokens


class TexturalEmbedding(nn.Module):
    """Eq. 3: k learned tokens of each defect type, which start at the encoder's features of image · mask.

    The tokens are learned in the encoder's space and mapped to d by a linear layer, as text is, so that they can start
    at the features themselves for any d.
    """

    def __init__(self, initial: Tensor, width: int) -> None:
        super().__init__()
        self.tokens = nn.Parameter(initial)
        self.linear = nn.Linear(initial.shape[-1], width)

    def forward(self, types: Tensor) -> Tensor:
        """Types (B,), indices → (B, k, d)."""
        tokens: Tensor = self.linear(self.tokens[types])
        return tokens


SPREAD = 0.01
"""Standard deviation of the noise that tells the k tokens of a type apart; a unit feature's entries are about 0.05."""


def initial_tokens(features: NDArray[np.float32], types: NDArray[np.int64], tokens: int, seed: int) -> Tensor:
    """The start of the textural tokens, float32 (types, k, D): each type's mean feature, k times, and a little noise.

    features: (N, D) of image · mask. types: (N,), the index of each image's type. Without the noise the k tokens would
    have equal gradients for ever.
    """
    means = np.stack([features[types == t].mean(0) for t in range(int(types.max()) + 1)])
    noise = np.random.default_rng((seed, 0xF2)).standard_normal((len(means), tokens, features.shape[1]), np.float32)
    return torch.from_numpy(means[:, None] + np.float32(SPREAD) * noise)


class Aggregator(nn.Module):
    """Eq. 5: e_X + MLP(SelfAttention(e_X))."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, n, d) → (B, n, d)."""
        attended, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        aggregated: Tensor = tokens + self.mlp(attended)
        return aggregated


class DynamicFusion(nn.Module):
    """Eq. 14, Dynamic Dif-Fusion: e_t = MLP(concat(e_X, e_tim)), one embedding for each diffusion step.

    The timestep is expanded to sines and cosines and aligned to d, which gives e_tim; it is concatenated to each token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.align = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.mlp = nn.Sequential(nn.Linear(2 * width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens: Tensor, timesteps: Tensor) -> Tensor:
        """e_X (B, n, d) and timesteps (B,) → e_t (B, n, d)."""
        from diffusers.models.embeddings import get_timestep_embedding

        expanded = get_timestep_embedding(timesteps, tokens.shape[-1]).to(tokens)
        e_tim = self.align(expanded).unsqueeze(1).expand_as(tokens)
        e_t: Tensor = self.mlp(torch.cat([tokens, e_tim], dim=-1))
        return e_t
