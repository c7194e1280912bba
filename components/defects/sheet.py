"""A contact sheet of made images: for each type real defects, and made ones beside the good image that they are on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from goodshot.components.contact_sheet import contact_sheet
from goodshot.components.defects.images import DefectImages

OUTLINE = (255, 0, 160)
SIDE = 160
COLUMNS = 8
ROWS = 2
"""Number of rows of made images for each type."""

RGB = NDArray[np.uint8]


def defect_sheet(
    goods: RGB, owners: Sequence[int], made: DefectImages, real: DefectImages | None = None, side: int = SIDE
) -> bytes:
    """Returns a PNG with real defective images of each type, and below them the first made images of the type.

    Each made image stands beside its good image with the mask's outline. Real images have their masks' outlines.

    goods: uint8 RGB (K, S, S, 3). owners: the index of the good image that each of the N images was made on. real: the
        real images used for training. side: the side in pixels of each image on the sheet.
    """
    rows: list[tuple[str, Sequence[RGB]]] = []
    for kind in sorted({*made.types}):
        if real is not None and (shown := _first(real, kind, COLUMNS)):
            rows.append((f"{kind}, photographed", [outlined(real.images[i], real.masks[i]) for i in shown]))
        chosen = _first(made, kind, ROWS * COLUMNS // 2)
        pairs = [(outlined(goods[owners[i]], made.masks[i]), made.images[i]) for i in chosen]
        rows += _rows(f"{kind}, made: {made.captions[chosen[0]]}", [image for pair in pairs for image in pair])
    return contact_sheet(rows, side)


def outlined(image: RGB, mask: NDArray[np.bool_]) -> RGB:
    """Returns the image, uint8 (S, S, 3), with the mask's outline drawn around it, outside the mask."""
    from scipy import ndimage

    width = max(1, len(image) // 128)
    edge = ndimage.binary_dilation(mask, iterations=width) & ~mask
    return np.where(edge[..., None], np.array(OUTLINE, dtype=np.uint8), image)


def _first(images: DefectImages, kind: str, count: int) -> list[int]:
    return [i for i, each in enumerate(images.types) if each == kind][:count]


def _rows(label: str, images: list[RGB]) -> Iterator[tuple[str, Sequence[RGB]]]:
    for start in range(0, len(images), COLUMNS):
        yield label if not start else "", images[start : start + COLUMNS]
