"""A contact sheet of made images: for each, its caption, the good image, where the defect goes, and what was made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from goodshot.components.contact_sheet import contact_sheet
from goodshot.components.defects.images import DefectImages, Site

OUTLINE = (255, 0, 160)
SIDE = 160


def defect_sheet(goods: NDArray[np.uint8], sites: Sequence[Site], made: DefectImages, side: int = SIDE) -> bytes:
    """Returns a PNG with a row for each made image: the good image, the mask's outline on it, the made image.

    goods: uint8 (K, S, S, 3). sites: those at which the N images were made. side: of each image, in pixels.
    """
    rows = []
    for i, site in enumerate(sites):
        good = goods[site.good]
        label = f"{made.types[i]}: {made.captions[i]}"
        rows.append((label, [good, outlined(good, made.masks[i]), made.images[i]]))
    return contact_sheet(rows, side)


def outlined(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Returns the image, uint8 (S, S, 3), with the mask's outline drawn around it, outside the mask."""
    width = max(1, len(image) // 128)
    edge = ndimage.binary_dilation(mask, iterations=width) & ~mask
    return np.where(edge[..., None], np.array(OUTLINE, dtype=np.uint8), image)
