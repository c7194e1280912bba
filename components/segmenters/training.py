"""Training a U-Net on made defective images and good ones.

The protocol is AnomalyDiffusion's (arXiv:2312.05767), which the paper follows: defective images of all types, good
training images with empty masks in half of the draws. The checkpoint is chosen on validation images of the training
third, not on test images as in the published code.

# N images, R × R pixels of the segmenter's resolution
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from goodshot.components.defects import DefectImages
from goodshot.components.errors import BadInput
from goodshot.components.fitting.fitting import Fitting
from goodshot.components.fitting.inputs import as_input, at_resolution, augmented, masks_at_resolution
from goodshot.components.metrics.pixels import Pixels, measure
from goodshot.components.segmenters.config import SegmenterConfig
from goodshot.components.segmenters.losses import dice_loss, focal_loss
from goodshot.components.segmenters.trained import TrainedSegmenter, maps_of, network_of

RGB = NDArray[np.uint8]


class Segmenter:
    """A U-Net of one category.

    Args:
        defects: made images with masks, of any size; drawn by type, then by image, with equal probability.
        goods: good images, uint8 RGB (H, W, 3) of any sizes; may be empty if ``config.good_share`` is 0.
        seed: determines weights and batches.
        validation: real defective images that choose the checkpoint by pixel AP; without them the last checkpoint is
            taken. Test images must not be among them.
        device: torch device. Bit-exact continuation holds on the CPU with a fixed thread count.

    Raises:
        BadInput: no defective image, one without a marked pixel, no good image although they have a share of the batch,
            or no marked pixel in the validation images.
    """

    def __init__(
        self,
        defects: DefectImages,
        goods: Sequence[RGB],
        config: SegmenterConfig,
        seed: int,
        validation: DefectImages | None = None,
        device: str = "cpu",
    ) -> None:
        self.config = config
        task = _Localisation(defects, goods, config, seed, validation)
        self.fitting = Fitting("segmenter", lambda: network_of(config), task, config, seed, {}, device)
        """The loop that trains it."""

    def trained(self) -> TrainedSegmenter:
        """The segmenter with the chosen checkpoint."""
        return TrainedSegmenter(self.fitting.chosen(), self.config, self.fitting.accelerator.device)


class _Localisation:
    """The task of a segmenter: masks from images."""

    def __init__(
        self,
        defects: DefectImages,
        goods: Sequence[RGB],
        config: SegmenterConfig,
        seed: int,
        validation: DefectImages | None,
    ) -> None:
        _check(defects, goods, config, validation)
        self._config, self._seed = config, seed
        side = config.resolution
        self._images, self._masks = at_resolution(defects.images, side), masks_at_resolution(defects.masks, side)
        self._goods = at_resolution(goods if config.goods_in_batch else (), side)
        types = np.asarray(defects.types)
        self._by_type = [np.flatnonzero(types == name) for name in sorted(set(defects.types))]
        self._validation: tuple[RGB, NDArray[np.bool_]] | None = None
        if validation is not None:
            self._validation = at_resolution(validation.images, side), masks_at_resolution(validation.masks, side)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Defective images first: a type, then one of its images, with equal probability; then good ones."""
        rng = np.random.default_rng((self._seed, 0x5E, step))
        of_goods = self._config.goods_in_batch
        types = rng.integers(len(self._by_type), size=self._config.batch - of_goods)
        chosen = [int(rng.choice(self._by_type[t])) for t in types]
        good = rng.integers(max(len(self._goods), 1), size=of_goods)
        images = np.concatenate([self._images[chosen], self._goods[good]]) if of_goods else self._images[chosen]
        marked = np.zeros((len(images), *images.shape[1:3]), np.float32)
        marked[: len(chosen)] = self._masks[chosen]
        return augmented(as_input(images), torch.from_numpy(marked)[:, None], self._config, rng)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        focal = focal_loss(outputs, targets, self._config.gamma)
        return self._config.focal * focal + self._config.dice * dice_loss(outputs, targets)

    def merit(self, network: nn.Module, device: torch.device) -> float | None:
        """Pixel AP, which tells maps apart when few pixels are defective; AUROC is near 1 for most of them."""
        if self._validation is None:
            return None
        images, marked = self._validation
        return float(measure(Pixels(maps_of(network, images, device), marked))[0].ranking.ap)


def _check(
    defects: DefectImages, goods: Sequence[RGB], config: SegmenterConfig, validation: DefectImages | None
) -> None:
    if not len(defects):
        raise BadInput("segmenter: needs at least one defective image with its mask")
    if empty := np.flatnonzero(~defects.masks.any((1, 2))).tolist():
        raise BadInput(f"segmenter: the mask of defective image {empty[0]} is empty; leave the image out")
    if config.goods_in_batch and not len(goods):
        raise BadInput("segmenter: good_share is above 0, but there is no good image; set good_share to 0")
    if validation is not None and not validation.masks.any():
        raise BadInput("segmenter: the validation images have no marked pixel to choose a checkpoint by")
