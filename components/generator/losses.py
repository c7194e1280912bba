"""The losses of §4.2: L = L_mse + λ·L_vq (eq. 6, 7).

# B images in [−1, 1], (B, 3, H, W); T sampled images; latents (B, C, h, w)
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from goodshot.components.generator.vqgan import Quantised


def mse_loss(original: Tensor, samples: Tensor) -> Tensor:
    """Eq. 6: mean over the T samples (T, 3, H, W) of the per-pixel mean squared difference to I^o (3, H, W).

    The paper's n is undefined; the pixel mean is our choice and decides what λ means.
    """
    return F.mse_loss(samples, original.expand_as(samples))


def codebook_loss(latents: Tensor, quantised: Quantised, beta: float, legacy: bool = False) -> Tensor:
    """‖sg(z) − e‖² + β‖z − sg(e)‖², pixel means: β on the commitment term (the correct form).

    ``legacy``: β‖sg(z) − e‖² + ‖z − sg(e)‖², which the published code does by default.
    """
    pull_codes = F.mse_loss(quantised.codes, latents.detach())
    pull_latents = F.mse_loss(latents, quantised.codes.detach())
    return beta * pull_codes + pull_latents if legacy else pull_codes + beta * pull_latents
