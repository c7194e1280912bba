"""PatchCore (Roth et al. 2022, "Towards Total Recall in Industrial Anomaly Detection") through anomalib.

anomalib's torch model is used directly, without its Engine: its post-processor clamps scores to [0, 1] and
its datamodules let test data set thresholds, while its model gives the paper's raw scores. Images pass one at
a time, so a score depends on the fitted bank and the image alone, bit for bit, whatever else is in the set.

Legend: N training images, M patches in the memory bank, C feature channels, T test images, S the image size.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from components.detectors.backbones import check_layers
from components.detectors.base import Images, Scores, as_batches
from components.detectors.config import DetectorConfig
from components.detectors.preprocess import preprocess, reading_of
from components.detectors.presets import EMBEDDED_BACKBONE
from components.detectors.pretrained import weight_file
from components.detectors.quiet import quiet_import
from components.errors import BadInput, GoodshotError

# At most this many distances at a time: 256 MB in float32, whatever the bank's size.
MAX_DISTANCES = 2**26


class PatchCore:
    """PatchCore: the distance of each patch's features to the nearest patch of the good images."""

    def __init__(self, config: DetectorConfig, *, seed: int, device: str = "cpu") -> None:
        self.config = config
        self.seed = seed
        self.device = torch.device(device)
        self._model = build_model(config, seed).to(self.device).eval()

    @property
    def memory_bank(self) -> NDArray[np.float32]:
        """A copy of the memory bank, float32 (M, C); M is 0 before `fit`."""
        bank: NDArray[np.float32] = self._model.memory_bank.cpu().numpy().copy()
        return bank

    def fit(self, train: Images) -> None:
        """Fill the memory bank from good images: uint8 RGB (N, H, W, 3), or several such arrays.

        Raises `BadInput` where there is no image, or where the bank would hold fewer than `num_neighbors`
        patches.
        """
        self._model.memory_bank = torch.empty(0, device=self.device)
        patches = self._embed(train)
        self._check_size(len(patches))
        if not bool(torch.isfinite(patches).all()):
            raise GoodshotError(f"{self.config.label} gave non-finite features for the training images")
        if self.config.coreset_ratio == 1.0:
            self._model.memory_bank = patches
        else:
            self._select(patches)

    @torch.no_grad()
    def score(self, images: Images) -> Scores:
        """Return raw scores (T,) and maps (T, S, S), upsampled and smoothed (σ = 4), of uint8 RGB images.

        Raises `GoodshotError` before `fit`, and where an output is not finite.
        """
        if len(self._model.memory_bank) == 0:
            raise GoodshotError(f"{self.config.label} has an empty memory bank: call fit before score")
        batches, size = as_batches(images, "images"), self.config.resolution
        count = sum(map(len, batches))
        scores = Scores(np.empty(count, np.float32), np.empty((count, size, size), np.float32))
        for index, pixels in enumerate(self._prepared(images, "images")):
            output = self._model(pixels)
            scores.image[index] = _finite(output.pred_score, "score", index).item()
            scores.maps[index] = _finite(output.anomaly_map, "anomaly map", index)[0, 0].cpu().numpy()
        return scores

    @torch.no_grad()
    def _embed(self, train: Images) -> Tensor:
        """The patch features of all training images, (N · patches, C)."""
        self._model.train()  # anomalib's training mode collects embeddings; the backbone itself stays in eval
        for pixels in self._prepared(train, "train"):
            self._model(pixels)
        self._model.eval()
        store: list[Tensor] = list(self._model.embedding_store)
        self._model.embedding_store.clear()
        if not store:
            raise BadInput("train: there is no image to fit the detector on")
        return torch.vstack(store)

    def _select(self, patches: Tensor) -> None:
        """Keep `coreset_ratio` of the patches by anomalib's k-center-greedy selection (§3.2)."""
        self._model.embedding_store.append(patches)
        with seeded(self.seed, self.device):
            self._model.subsample_embedding(self.config.coreset_ratio)

    def _check_size(self, patches: int) -> None:
        kept, wanted = int(patches * self.config.coreset_ratio), self.config.num_neighbors
        if kept < wanted:
            raise BadInput(f"num_neighbors={wanted} is more than the memory bank's {kept} patches")

    def _prepared(self, images: Images, name: str) -> Iterator[Tensor]:
        for batch in as_batches(images, name):
            for image in batch:
                reading = reading_of(self.config.backbone)
                yield preprocess(image, self.config.image_size, self.config.crop, reading).to(self.device)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed both random states the selection draws from, and give the caller's own back afterwards.

    torch draws the first center; numpy's global state, through scikit-learn, the random projection's columns.
    """
    numpy_state = np.random.get_state()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)


def build_model(config: DetectorConfig, seed: int = 0) -> Any:
    """Return anomalib's `PatchcoreModel` with the backbone's pretrained weights, its memory bank empty.

    `seed` draws the weights where the configuration wants random ones. Raises `BadInput` for a layer that the backbone
    does not have, `MissingWeights` where its weights are not on this machine.
    """
    on_lite0, pretrained = config.backbone == EMBEDDED_BACKBONE, config.weights == "pretrained"
    if not on_lite0:
        check_layers(str(config.backbone), config.layers or ())
        if pretrained:
            weight_file(config)
    with quiet_import():
        from anomalib.models.image.patchcore.torch_model import PatchcoreModel
    model_class = _bounded(PatchcoreModel)
    with torch.random.fork_rng(devices=[]):  # the layers draw initial values, which weights may then replace
        torch.manual_seed(seed)
        model = model_class(
            layers=config.layers,
            backbone=f"tf_{EMBEDDED_BACKBONE}" if on_lite0 else config.backbone,
            pre_trained=pretrained and not on_lite0,
            num_neighbors=config.num_neighbors,
        )
    if on_lite0 and pretrained:
        _load_backbone(model.feature_extractor.feature_extractor)
    return model


def _load_backbone(extractor: torch.nn.Module) -> None:
    """Load strictly what the feature extractor holds: all of the network but its head (the classifier)."""
    from components.weights import efficientnet_lite0_state_dict

    weights, wanted = efficientnet_lite0_state_dict(), extractor.state_dict().keys()
    extractor.load_state_dict({key: tensor for key, tensor in weights.items() if key in wanted}, strict=True)


def _bounded(model_class: Any) -> Any:
    """The same model with its distance matrix cut into blocks of at most `MAX_DISTANCES`.

    anomalib's blocks are 1024 queries against the whole bank: 0.8 GB for a bank of 200 images at 256 px.
    """

    class BoundedPatchcore(model_class):  # type: ignore[misc]
        def nearest_neighbors(self, embedding: Tensor, n_neighbors: int) -> tuple[Tensor, Tensor]:
            rows = max(1, MAX_DISTANCES // len(self.memory_bank))
            blocks = [
                model_class.nearest_neighbors(self, block, n_neighbors=n_neighbors)
                for block in torch.split(embedding, rows)
            ]
            distances, locations = zip(*blocks, strict=True)
            return torch.cat(distances), torch.cat(locations)

    return BoundedPatchcore


def _finite(output: Tensor, what: str, index: int) -> Tensor:
    if not bool(torch.isfinite(output).all()):
        raise GoodshotError(f"patchcore gave a non-finite {what} for test image {index}")
    return output
