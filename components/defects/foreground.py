"""Where the product is on good photographs: the area on which defects may be made.

Industrial cameras look at an object in front of a plain background, or at a surface that fills the image. An object is
what differs in colour from the border of its photograph. Whether there is one is decided once for all photographs of a
category: if the border differs from its own median colour about as often as the inside does, the product is a surface.

Nothing is learnt and no test image is used. Checked by eye on pill, bottle, juice bottle, hazelnut and coin (objects:
nothing of the border differs) and on brick and gravel (surfaces: 0.17 and 0.24 of the border differ, against 0.20 and
0.24 of the inside). A shadow beside the object counts as object.

Letters: K images, S their side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from goodshot.components.errors import BadInput

RGB = NDArray[np.uint8]
Mask = NDArray[np.bool_]

BORDER = 1 / 32
"""Width of the image's border, as a share of its side."""
SURFACE = 0.5
"""Share of differing pixels on the border, relative to that of the inside, from which on the product is a surface."""
DIM = 0.5
"""Of Otsu's threshold, which the bright parts of an object raise so much that its dark parts are lost."""
LEAST_PART = 0.1
"""Area of an object's separate parts, relative to its largest."""
SMOOTH = 1 / 128


def foreground(goods: RGB) -> Mask:
    """Returns bool (K, S, S): the pixels of the product on each of the good photographs, uint8 RGB (K, S, S, 3).

    A product that fills the image, and one that cannot be told from its background, is everywhere. No mask is empty.

    Raises:
        BadInput: there is no photograph.
    """
    from skimage.filters import threshold_otsu

    if not len(goods):
        raise BadInput("there is no good photograph on which to find the product; add one")
    border = _border(goods.shape[1])
    distance = np.stack([_from_border(image, border) for image in goods])
    otsu = float(threshold_otsu(distance))
    if not otsu or (distance[:, border] > otsu).mean() > SURFACE * (distance[:, ~border] > otsu).mean():
        return np.ones(distance.shape, dtype=np.bool_)
    threshold = max(DIM * otsu, float(np.quantile(distance[:, border], 0.99)))
    return np.stack([_object(each > threshold) for each in distance])


def _border(side: int) -> Mask:
    width = max(1, round(BORDER * side))
    border = np.ones((side, side), dtype=np.bool_)
    border[width:-width, width:-width] = False
    return border


def _from_border(image: RGB, border: Mask) -> NDArray[np.float32]:
    """CIELAB distance (S, S) of each pixel from the median colour of the image's border, smoothed."""
    from scipy import ndimage
    from skimage.color import rgb2lab

    lab = rgb2lab(image)
    distance = np.linalg.norm(lab - np.median(lab[border], axis=0), axis=2)
    return np.asarray(ndimage.gaussian_filter(distance, SMOOTH * len(image)), dtype=np.float32)


def _object(differs: Mask) -> Mask:
    """The large parts of what differs, without holes; everything if nothing is left."""
    from scipy import ndimage

    reach = max(1, len(differs) // 128)
    solid = ndimage.binary_fill_holes(ndimage.binary_opening(differs, iterations=reach))
    parts, count = ndimage.label(solid)
    if not count:
        return np.ones_like(differs)
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    return np.asarray((areas >= LEAST_PART * areas.max())[parts] & solid, dtype=np.bool_)
