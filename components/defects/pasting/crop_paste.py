"""Crop-paste: a real defect's own pixels on a good image (Lin et al., ICME 2021; the paper's "Crop-P")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from goodshot.components.defects.images import DefectImages, Site
from goodshot.components.defects.pasting.paster import RGB, Mask, Paster
from goodshot.components.defects.warping import warp_image


@dataclass(frozen=True)
class CropPaste(Paster):
    """Pastes the source's pixels below the site's mask, moved as the mask was.

    feather: width, as a share of the side, over which the pixels fade in from the mask's edge inwards; 0 pastes them
        as they are.
    """

    feather: float = 0.0
    title: ClassVar[str] = "crop-paste"
    needs_defects: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """The paster's name in studies and results."""
        return "crop_paste_feathered" if self.feather else "crop_paste"

    def make(self, goods: RGB, defects: DefectImages | None, site: Site, rng: np.random.Generator) -> tuple[RGB, Mask]:
        """See `Paster.make`; ``defects`` has to be given."""
        if defects is None:
            raise ValueError("crop-paste needs real defects")
        moved = warp_image(defects.images[site.source], site.matrix)
        opacity = site.mask.astype(np.float64)
        if self.feather:
            from scipy import ndimage

            depth = ndimage.distance_transform_edt(np.pad(site.mask, 1))[1:-1, 1:-1]
            opacity = np.clip(depth / (self.feather * len(moved)), 0, 1)
        good, weight = goods[site.good], opacity[..., None]
        mixed = np.rint(good * (1 - weight) + moved * weight).astype(np.uint8)
        return np.where(site.mask[..., None], mixed, good), site.mask
