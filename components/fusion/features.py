"""Features of real defects by the frozen encoder: of their captions (eq. 1) and of image · mask (eq. 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from goodshot.components.defects.images import DefectImages
from goodshot.components.encoders import Encoder


@dataclass(frozen=True)
class DefectFeatures:
    """The features of captions and of masked images, float32 (N, D) each, with unit rows."""

    text: NDArray[np.float32]
    image: NDArray[np.float32]


def features_of(encoder: Encoder, defects: DefectImages) -> DefectFeatures:
    """The features of N defective images; each different caption is encoded once."""
    captions = sorted(set(defects.captions))
    text = encoder.encode_texts(captions)[[captions.index(caption) for caption in defects.captions]]
    masked = defects.images * defects.masks[..., None]
    image = encoder.encode_images(torch.from_numpy(masked).permute(0, 3, 1, 2).float() / 255)
    return DefectFeatures(text.numpy(), image.numpy())
