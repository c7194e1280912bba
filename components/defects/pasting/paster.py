"""The interface of the methods that make defective images without a generative model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from goodshot.components.defects.images import DefectImages, Site

RGB = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Paster(ABC):
    """One way to make a defective image from good images and, perhaps, real defects.

    title: the name shown to users. needs_defects: whether it uses real defective images; otherwise its images have its
    name as their defect type.
    """

    title: ClassVar[str]
    needs_defects: ClassVar[bool] = False

    @property
    def weights(self) -> tuple[str, ...]:
        """The sets of photographs in the weights' registry that the paster reads."""
        return ()

    @property
    @abstractmethod
    def name(self) -> str:
        """The paster's name in studies and results."""

    def identity(self) -> dict[str, Any]:
        """The options that determine the paster's images, for fingerprints: plain values, without paths."""
        return asdict(self)

    @abstractmethod
    def make(self, goods: RGB, defects: DefectImages | None, site: Site, rng: np.random.Generator) -> tuple[RGB, Mask]:
        """Returns a defective image, uint8 (S, S, 3), and its mask, bool (S, S), which is not empty.

        goods: uint8 (K, S, S, 3). site: one of `placing.sites`, or of `placing.free_sites` where no defect is needed.
        Outside the mask, the image is the good one. Every pixel of the mask lies in the site's mask.
        """
