"""Find the product on good photographs. Defects are made within the area of the product only.

Industrial cameras look at an object in front of a plain background, or at a surface that fills the image. A pixel
belongs to an object if its colour differs from the median colour of the photograph's border. Whether the photographs of
a category show an object or a surface is decided once for all of them: the product is a surface if pixels of the border
differ from that median colour about as often as pixels of the inside.

The method trains nothing and uses no test image. It was checked by eye on pill, bottle, juice bottle, hazelnut and coin
(objects: no pixel of the border differs), and on brick and gravel (surfaces: a share of 0.17 and 0.24 of the border's
pixels differs, and 0.20 and 0.24 of the inside's). A shadow beside an object counts as part of the object.

Letters: K is the number of images, S their side in pixels.
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
"""Factor on Otsu's threshold. Bright parts of an object raise the threshold itself so far that dark parts are lost."""
LEAST_PART = 0.1
"""Minimum area of a separate part of an object, relative to the object's largest part."""
SMOOTH = 1 / 128
"""Standard deviation of the Gaussian that smooths colour distances, as a share of the image's side."""


def foreground(goods: RGB) -> Mask:
    """Returns bool (K, S, S): the pixels of the product on each of the good photographs, uint8 RGB (K, S, S, 3).

    If the product fills the image or cannot be distinguished from the background, the mask covers the whole image. No
    mask is empty.

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
    """The large parts of the pixels that differ, with holes filled; the whole image if no part remains."""
    from scipy import ndimage

    reach = max(1, len(differs) // 128)
    solid = ndimage.binary_fill_holes(ndimage.binary_opening(differs, iterations=reach))
    parts, count = ndimage.label(solid)
    if not count:
        return np.ones_like(differs)
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    return np.asarray((areas >= LEAST_PART * areas.max())[parts] & solid, dtype=np.bool_)
