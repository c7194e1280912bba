"""The types of this package: defective images with their masks, and the sites at which images are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class DefectImages:
    """N defective images of one product, all S × S pixels.

    images: uint8 RGB (N, S, S, 3). masks: bool (N, S, S), True where the defect is. types: the N names of the kinds of
    defect. captions: N sentences that describe them.
    """

    images: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    types: tuple[str, ...]
    captions: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def side(self) -> int:
        """S, in pixels."""
        return int(self.images.shape[1])

    def of(self, indices: Sequence[int]) -> Self:
        """The images with these indices, in this order."""
        chosen = list(indices)
        types, captions = (tuple(names[i] for i in chosen) for names in (self.types, self.captions))
        return type(self)(self.images[chosen], self.masks[chosen], types, captions)


@dataclass(frozen=True)
class Site:
    """The place of one defective image.

    good: index of the good image that it is made on. source: index of the real defective image whose mask, type and
    caption are used; -1 without one. mask: bool (S, S), the source's mask after ``matrix``, on the good image's
    product; without a source, the whole product. matrix: float (2, 3), the affine map from pixel positions (x, y) of
    the source to those of the good image.
    """

    good: int
    source: int
    mask: NDArray[np.bool_]
    matrix: NDArray[np.float64]
