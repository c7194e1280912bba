"""The losses of a segmenter, in float32. B images, R × R pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def focal_loss(logits: Tensor, marked: Tensor, gamma: float) -> Tensor:
    """Lin et al. 2017 (arXiv:1708.02002) without class weights, mean over pixels; gamma 0 is binary cross entropy.

    logits: (B, 1, R, R). marked: the same shape, 0 or 1.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, marked, reduction="none")
    # exp(−entropy) is the probability of the true class.
    return ((1 - torch.exp(-entropy)).clamp_min(0) ** gamma * entropy).mean()


def dice_loss(logits: Tensor, marked: Tensor) -> Tensor:
    """1 − Dice of probabilities and masks, over all pixels of the batch together, in [0, 1].

    Over the batch, because an image with an empty mask has no Dice of its own, and a mask of few pixels would weigh as
    much as one of many.
    """
    probabilities = logits.sigmoid()
    overlap = 2 * (probabilities * marked).sum() + 1
    return 1 - overlap / (probabilities.sum() + marked.sum() + 1)
