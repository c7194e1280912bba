"""Training a classifier of defect types on made images, and its accuracy on real ones.

The protocol is AnomalyDiffusion's (arXiv:2312.05767), which the paper follows: whole images, cross entropy, accuracy
over all test images together. The checkpoint is chosen on validation images of the training third, never on test
images.

# N images, K types of defect in alphabetical order
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from goodshot.components.classifiers.config import ClassifierConfig
from goodshot.components.defects import DefectImages
from goodshot.components.errors import BadInput, GoodshotError
from goodshot.components.fitting.fitting import Fitting
from goodshot.components.fitting.inputs import as_input, at_resolution, augmented, outputs

RGB = NDArray[np.uint8]


@dataclass(frozen=True)
class Accuracy:
    """Accuracy in [0, 1]. overall: the share of all images that are classified correctly, which the papers report.
    by_type: that share of each type's images. macro: the mean of ``by_type``."""

    overall: float
    macro: float
    by_type: dict[str, float]


class Classifier:
    """A classifier of one category's defect types.

    Args:
        defects: made images, of any size; drawn by type, then by image, with equal probability. Masks are not read.
        seed: determines the new weights and the batches.
        validation: real defective images of the training third, which choose the checkpoint by the mean probability
            of the true type (unlike accuracy, this mean has no ties on few images); without such images, the last
            checkpoint is chosen.
        device: torch device. Bit-exact continuation holds on the CPU with a fixed thread count.

    Raises:
        BadInput: fewer than two types, or a validation image of a type that no image to train on has.
        MissingWeights: the network's pretrained weights are not on this machine.
    """

    def __init__(
        self,
        defects: DefectImages,
        config: ClassifierConfig,
        seed: int,
        validation: DefectImages | None = None,
        device: str = "cpu",
    ) -> None:
        self.config = config
        self.types = tuple(sorted(set(defects.types)))
        task = _Classification(defects, self.types, config, seed, validation)
        stated = {"types": self.types, **config.kind.identity}
        self.fitting = Fitting(
            "classifier", lambda: config.kind.build(len(self.types)), task, config, seed, stated, device
        )
        """The loop that trains it."""

    def classify(self, images: Sequence[RGB] | RGB) -> NDArray[np.float32]:
        """The probabilities (N, K) of `types` for uint8 RGB images of any sizes, by the chosen checkpoint."""
        network, device = self.fitting.chosen(), self.fitting.accelerator.device
        found: NDArray[np.float32] = (
            outputs(network, at_resolution(images, self.config.resolution), device).softmax(1).numpy()
        )
        if not np.isfinite(found).all():
            raise GoodshotError("classifier: its probabilities are not finite; lower learning_rate")
        return found

    def accuracy(self, images: DefectImages) -> Accuracy:
        """Return the accuracy on real images; an image whose type no training image has counts as wrong."""
        return accuracy(self.classify(images.images), self.types, images.types)


def accuracy(probabilities: NDArray[np.float32], known: Sequence[str], types: Sequence[str]) -> Accuracy:
    """The accuracy of probabilities (N, K) of the ``known`` types, for images of these ``types`` (N,).

    Of equally probable types, the first is taken. An image of an unknown type counts as wrong. Raises `BadInput`
    without images or if the numbers differ.
    """
    if not len(types) or probabilities.shape != (len(types), len(known)):
        raise BadInput(
            f"defect accuracy: {probabilities.shape} probabilities are not those of {len(types)} images and "
            f"{len(known)} types"
        )
    is_right = np.asarray(known)[probabilities.argmax(1)] == np.asarray(types)
    by_type = {name: float(is_right[np.asarray(types) == name].mean()) for name in sorted(set(types))}
    return Accuracy(float(is_right.mean()), float(np.mean(list(by_type.values()))), by_type)


class _Classification:
    """The task of a classifier: types from images."""

    def __init__(
        self,
        defects: DefectImages,
        types: tuple[str, ...],
        config: ClassifierConfig,
        seed: int,
        validation: DefectImages | None,
    ) -> None:
        _check(types, validation)
        self._config, self._seed = config, seed
        self._images = at_resolution(defects.images, config.resolution)
        self._by_type = [np.flatnonzero(np.asarray(defects.types) == name) for name in types]
        self._validation: tuple[RGB, Tensor] | None = None
        if validation is not None:
            targets = torch.tensor([types.index(name) for name in validation.types])
            self._validation = at_resolution(validation.images, config.resolution), targets

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """A type, then one of its images, with equal probability."""
        rng = np.random.default_rng((self._seed, 0xC1, step))
        types = rng.integers(len(self._by_type), size=self._config.batch)
        images = as_input(self._images[[int(rng.choice(self._by_type[t])) for t in types]])
        return augmented(images, images[:, :1], self._config, rng)[0], torch.from_numpy(types)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets)

    def merit(self, network: nn.Module, device: torch.device) -> float | None:
        """The mean probability of the true type."""
        if self._validation is None:
            return None
        images, targets = self._validation
        return float(outputs(network, images, device).softmax(1).gather(1, targets[:, None]).double().mean())


def _check(types: tuple[str, ...], validation: DefectImages | None) -> None:
    if len(types) < 2:
        raise BadInput(f"classifier: needs images of at least two types of defect; got {', '.join(types) or 'none'}")
    if validation is None:
        return
    if not len(validation):
        raise BadInput("classifier: there is no validation image; leave them out to take the last checkpoint")
    if unknown := sorted(set(validation.types) - set(types)):
        raise BadInput(
            f"classifier: validation images have the type {unknown[0]!r}, which no image to train on has; "
            f"known: {', '.join(types)}"
        )
