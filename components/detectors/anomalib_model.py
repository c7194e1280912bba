"""Any image model of anomalib: trained by Lightning on good images for the declared budget, with raw scores.

anomalib's Engine is not used on purpose: its post-processor clamps scores to [0, 1], its datamodules let
test labels set thresholds, and Lightning trains 1000 epochs by default. No test image is used here.

Legend: N training images, T test images, C the side of the model's input (`DetectorConfig.resolution`).
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from goodshot.components.detectors.base import Batch, Images, Scores, as_batches
from goodshot.components.detectors.building import build_module, missing_weights_named, one_line
from goodshot.components.detectors.config import DetectorConfig
from goodshot.components.detectors.families.anomalib_family import AnomalibFamily
from goodshot.components.detectors.patchcore import seeded
from goodshot.components.detectors.quiet import quiet_import
from goodshot.components.detectors.training_data import GoodImages, data_module
from goodshot.components.errors import BadInput, GoodshotError
from goodshot.components.heartbeat import beat

# Lightning's settings by goodshot, which override a model's own.
_OURS = {"max_epochs", "max_steps", "devices", "num_sanity_val_steps", "val_check_interval"}
_UNTRAINABLE = (ValueError, KeyError, ArithmeticError, RuntimeError, NotImplementedError)


class AnomalibDetector:
    """A model of anomalib by its name, on the embedded backbone if it takes it.

    `object_name` is the object in WinCLIP's prompts, unless its `class_name` argument is given; the other models
    use no text.
    """

    def __init__(
        self,
        config: DetectorConfig,
        family: AnomalibFamily,
        *,
        seed: int,
        device: str = "cpu",
        object_name: str | None = None,
    ) -> None:
        self.family = family
        self.config, self.seed, self.device = config, seed, torch.device(device)
        self.object_name = object_name
        self._fitted, self._seen = False, 0
        self._build()

    def fit(self, train: Images) -> None:
        """Train on good images, uint8 RGB (N, H, W, 3), or several such arrays, from the weights of construction.

        Raises `BadInput` without an image, `GoodshotError` if the model cannot be trained on these images.
        """
        images = [image for batch in as_batches(train, "train") for image in batch]
        if not images:
            raise BadInput("train: there is no image to fit the detector on")
        if self._fitted:
            self._build()
        with everything_seeded(self.seed, self.device), quiet_import():
            self.family.fit(self, [self._transform(image) for image in images])
        self.module.to(self.device).eval()
        self._fitted, self._seen = True, len(images)

    @torch.no_grad()
    def score(self, images: Images) -> Scores:
        """Return raw scores (T,) and maps (T, C, C) of uint8 RGB images; a model without maps gives maps of NaN.

        Raises `GoodshotError` before `fit`, and for an output that is not finite.
        """
        each = enumerate(image for batch in as_batches(images, "images") for image in batch)
        return self.collected(self._score(image, i) for i, image in each)

    def collected(self, each: Iterable[tuple[float, np.ndarray]]) -> Scores:
        """Stack the scores and maps (C, C) of single images. Raises `GoodshotError` before `fit`."""
        if not self._fitted:
            raise GoodshotError(f"{self.config.label} is not fitted: call fit before score")
        found, size = list(each), self.config.resolution
        maps = np.stack([m for _, m in found]) if found else np.empty((0, size, size), np.float32)
        return Scores(np.array([score for score, _ in found], np.float32), maps)

    def _build(self) -> None:
        with everything_seeded(self.seed, self.device):
            self.module, self._transform = build_module(self.config, self.family)
        self._fitted = False

    def _score(self, image: Batch, index: int) -> tuple[float, np.ndarray]:
        beat()
        return self.finished(self.module.model(self._transform(image)[None].to(self.device)), index)

    def finished(self, output: Any, index: int) -> tuple[float, np.ndarray]:
        """A model's output for test image `index` → its score and map (C, C). Raises `GoodshotError` if not finite."""
        size = self.config.resolution
        if not bool(torch.isfinite(output.pred_score).all()):
            seen = f"after {self._seen} good images" if self._seen else "without good images"
            raise GoodshotError(f"{self.config.label} gave a non-finite score for test image {index}, {seen}")
        if output.anomaly_map is None:
            return float(output.pred_score), np.full((size, size), np.nan, np.float32)
        anomaly_map = output.anomaly_map.reshape(1, 1, *output.anomaly_map.shape[-2:]).float()
        if anomaly_map.shape[-2:] != (size, size):
            anomaly_map = torch.nn.functional.interpolate(anomaly_map, (size, size), mode="bilinear")
        if not bool(torch.isfinite(anomaly_map).all()):
            raise GoodshotError(f"{self.config.label} gave a non-finite anomaly map for test image {index}")
        return float(output.pred_score), anomaly_map[0, 0].cpu().numpy()

    def data(self, good: list[Tensor]) -> Any:
        """Good images, (3, C, C) each, as `train` takes them: see `data_module`."""
        return data_module(GoodImages(good), self.config, self.seed)

    def train(self, data: Any) -> None:
        """Let Lightning train the module on `data`. Raises `GoodshotError` if it cannot be trained on these images."""
        import lightning.pytorch as lightning

        with tempfile.TemporaryDirectory() as folder, missing_weights_named(self.config.label):
            trainer = lightning.Trainer(
                max_epochs=1,
                limit_val_batches=0,
                barebones=True,
                accelerator="gpu" if self.device.type == "cuda" else "cpu",
                devices=1,
                default_root_dir=folder,
                **{k: v for k, v in self.module.trainer_arguments.items() if k not in _OURS},
            )
            try:
                trainer.fit(self.module, datamodule=data)
            except _UNTRAINABLE as error:
                raise GoodshotError(
                    f"{self.config.label}: cannot be trained on these images ({one_line(error)})"
                ) from error


@contextmanager
def everything_seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch, numpy and Python's random, which some models draw from; the caller's states are restored."""
    state = random.getstate()
    with ExitStack() as stack:
        stack.callback(random.setstate, state)
        stack.enter_context(seeded(seed, device))
        random.seed(seed)
        yield
