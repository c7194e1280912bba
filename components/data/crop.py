"""The centre crop of square images, masks and defects, for detectors that crop.

Letters: N images, S the side before the crop, C the side after it.
"""

from dataclasses import replace

import numpy as np

from goodshot.components.data.shards import Defects, Split
from goodshot.components.errors import BadInput


def margin(size: int, crop: int) -> int:
    """The number of pixels before the centre crop of side `crop` in a square of side `size`, rounded as by torchvision.

    Raises `BadInput` where the crop is larger than the square.
    """
    if crop > size:
        raise BadInput(f"crop {crop} is larger than the image, {size} × {size}")
    return round((size - crop) / 2)


def centre_crop(split: Split, crop: int | None) -> Split:
    """The split with images (N, C, C, 3), masks (N, C, C) and defects cropped to the centre; unchanged for `crop` None.

    Labels stay: an image with its defect outside the crop is still defective. Raises `BadInput` for a crop larger than
    the images.
    """
    size = split.images.shape[1]
    if crop is None or crop == size:
        return split
    start = margin(size, crop)
    middle = slice(start, start + crop)
    return replace(
        split,
        images=split.images[:, middle, middle],
        masks=split.masks[:, middle, middle],
        defects=None if split.defects is None else _cropped(split.defects, crop, middle),
    )


def _cropped(defects: Defects, crop: int, middle: slice) -> Defects:
    bits = np.zeros((len(defects.bits), -(-(crop**2) // 8)), np.uint8)
    for d in range(len(bits)):
        bits[d] = np.packbits(defects.mask(d)[middle, middle].reshape(-1))
    return replace(defects, size=crop, bits=bits)
