"""Images and masks under an affine map of pixel positions; a pixel's centre has whole numbers as its position."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
"""(2, 3): maps (x, y, 1) of the source to (x, y) of the result."""

IDENTITY: Matrix = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
IDENTITY.setflags(write=False)


def about(centre: NDArray[np.float64], linear: NDArray[np.float64], target: NDArray[np.float64]) -> Matrix:
    """Returns the map that applies ``linear`` (2, 2) about ``centre`` (x, y) and moves that to ``target`` (x, y)."""
    return np.column_stack([linear, target - linear @ centre])


def warp_mask(mask: NDArray[np.bool_], matrix: Matrix) -> NDArray[np.bool_]:
    """Returns the mask, bool (S, S), under the map; pixels that leave the image are lost."""
    return np.asarray(_warp(mask.astype(np.float32), matrix, "constant") > 0.5)


def warp_image(image: NDArray[np.uint8], matrix: Matrix) -> NDArray[np.uint8]:
    """Returns the image, uint8 (S, S, 3), under the map, bilinear; border pixels are repeated outside."""
    channels = [_warp(image[..., c].astype(np.float32), matrix, "nearest") for c in range(image.shape[2])]
    return np.asarray(np.clip(np.rint(np.stack(channels, axis=2)), 0, 255), dtype=np.uint8)


def _warp(values: NDArray[np.float32], matrix: Matrix, outside: str) -> NDArray[np.float32]:
    from scipy import ndimage

    # scipy asks for the inverse map, and counts rows before columns.
    inverse = np.linalg.inv(matrix[:, :2])
    offset = -inverse @ matrix[:, 2]
    warped = ndimage.affine_transform(values, inverse[::-1, ::-1], offset[::-1], order=1, mode=outside)
    return np.asarray(warped, dtype=np.float32)
