"""From the files of defective samples to arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from goodshot.components.data.images import decode_mask, decode_rgb
from goodshot.components.data.sample import Sample
from goodshot.components.defects.images import DefectImages
from goodshot.components.errors import BadInput


def decode_defects(samples: Sequence[Sample], sentences: Mapping[str, str], side: int) -> DefectImages:
    """Returns the samples' images and masks, resized to ``side`` × ``side`` as detectors' images are.

    sentences: image_id → caption. The masks of an image with several defects are merged.

    Raises:
        BadInput: a sample has no mask, or nothing is marked in it; or a file was removed since it was checked.
    """
    return DefectImages(
        images=decode_images(samples, side),
        masks=np.stack([_mask(sample, side) for sample in samples]),
        types=tuple(sample.defect_type for sample in samples),
        captions=tuple(sentences[sample.image_id] for sample in samples),
    )


def decode_images(samples: Sequence[Sample], side: int) -> NDArray[np.uint8]:
    """Returns the samples' images, uint8 RGB (N, side, side, 3). Raises BadInput if a file cannot be read."""
    return np.stack([decode_rgb(_bytes(sample.image_path), side, sample.white) for sample in samples])


def _mask(sample: Sample, side: int) -> NDArray[np.bool_]:
    if not sample.masks:
        raise BadInput(f"{sample.image_path}: has no mask, which says where its defect is; add one")
    marked = np.zeros((side, side), dtype=np.bool_)
    for mask in sample.masks:
        marked |= decode_mask(_bytes(mask.path), side, mask.defect_id, mask.orientation)
    if not marked.any():
        raise BadInput(f"{sample.masks[0].path}: nothing is marked in the mask; draw the defect")
    return marked


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
