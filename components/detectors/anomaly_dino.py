"""AnomalyDINO (Damm et al. 2025) through anomalib: a memory bank of DINOv2's patches, computed once and shared.

The model runs unchanged except that its image encoder is replaced by features computed before.

Legend: N images, P patches of an image, D channels, C the side of the model's input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from goodshot.components.detectors.anomalib_model import AnomalibDetector, everything_seeded
from goodshot.components.detectors.base import Features, Images, Scores, as_batches
from goodshot.components.errors import BadInput


class AnomalyDINO(AnomalibDetector):
    """The distance of each patch to the nearest patch of the good images, in DINOv2's last layer."""

    def fit(self, train: Images) -> None:
        """Fill the memory bank from good images. Raises `BadInput` without an image."""
        self.fit_features([self.embed(train)])

    def score(self, images: Images) -> Scores:
        """Return raw scores and maps, with the shapes and errors of `AnomalibDetector.score`."""
        return self.score_features(self.embed(images))

    @torch.no_grad()
    def embed(self, images: Images) -> Features:
        """Return DINOv2's patch tokens, float32 (N, P, D)."""
        self.module.to(self.device).eval()
        found = [
            self.module.model.extract_features(self._whole_patches(self._transform(image)[None]).to(self.device))
            for batch in as_batches(images, "images")
            for image in batch
        ]
        return torch.cat(found).float().cpu().numpy() if found else np.empty((0, 0, 0), np.float32)

    @torch.no_grad()
    def fit_features(self, train: Sequence[Features]) -> None:
        """`fit` on images given by their features."""
        images = [features for part in train for features in part]
        if not images:
            raise BadInput("train: there is no image to fit the detector on")
        model = self.module.to(self.device).model
        model.embedding_store.clear()
        with everything_seeded(self.seed, self.device):
            model.train()
            for features in images:
                self._forward(features)
            model.fit()
            model.eval()
        self._fitted, self._seen = True, len(images)

    @torch.no_grad()
    def score_features(self, images: Features) -> Scores:
        """`score` images given by their features."""

        # Seeded for each image, because masking (PCA) draws random numbers: scores do not depend on earlier images.
        def one(index: int) -> tuple[float, np.ndarray]:
            with everything_seeded(self.seed, self.device):
                return self.finished(self._forward(images[index]), index)

        return self.collected(one(index) for index in range(len(images)))

    def _forward(self, features: np.ndarray) -> object:
        """The model's output for an image given by its tokens (P, D)."""
        side = self.config.resolution
        with self._handed(torch.from_numpy(features.copy())[None].to(self.device)):
            return self.module.model(torch.empty(1, 3, side, side, device=self.device))

    @contextmanager
    def _handed(self, features: Tensor) -> Iterator[None]:
        model = self.module.model
        model.extract_features = lambda _: features
        try:
            yield
        finally:
            del model.extract_features

    def _whole_patches(self, pixels: Tensor) -> Tensor:
        """The centre of (1, 3, C, C) that consists of whole patches, cropped as by the model."""
        patch = self.module.model.patch_size
        height, width = pixels.shape[-2:]
        top, left = height % patch // 2, width % patch // 2
        return pixels[..., top : top + height // patch * patch, left : left + width // patch * patch]
