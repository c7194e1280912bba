"""PatchCore (Roth et al. 2022, "Towards Total Recall in Industrial Anomaly Detection"), with anomalib's numbers.

anomalib's Engine is not used, because its post-processor clamps scores to [0, 1] and its datamodules let test data set
thresholds. Features are computed separately, because no fit changes them and several fits can share them. Images are
processed one at a time, so that a score depends on the fitted bank and the image only, bit for bit.

Legend: N training images, M patches in the memory bank, C feature channels, T test images, S the image size.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from goodshot.components.detectors.backbones import EMBEDDED_BACKBONE, EMBEDDED_TIMM, check_layers
from goodshot.components.detectors.base import Features, Images, Scores, as_batches
from goodshot.components.detectors.config import DetectorConfig
from goodshot.components.detectors.coreset import select_coreset
from goodshot.components.detectors.patch_network import PatchNetwork
from goodshot.components.detectors.preprocess import preprocess, reading_of
from goodshot.components.detectors.pretrained import check_weights
from goodshot.components.errors import BadInput, GoodshotError
from goodshot.components.heartbeat import beat

# Patches of the bank per block of the distance computation: 16 MB of distances at 32 x 32 patches.
BLOCK = 4096
# Channels last halves the time of EfficientNet-Lite0's depthwise convolutions on a CPU.
CHANNELS_LAST = torch.channels_last


class PatchCore:
    """PatchCore: the distance of each patch's features to the nearest patch of the good images."""

    def __init__(self, config: DetectorConfig, *, seed: int, device: str = "cpu") -> None:
        self.config = config
        self.seed = seed
        self.device = torch.device(device)
        drawn = seed if config.weights == "random" else 0
        self._model = _with_a_bank_of_its_own(_network(_of_the_network(config), drawn, str(self.device)))

    @property
    def memory_bank(self) -> NDArray[np.float32]:
        """A copy of the memory bank, float32 (M, C); M is 0 before `fit`."""
        bank: NDArray[np.float32] = self._model.memory_bank.cpu().numpy().copy()
        return bank

    def fit(self, train: Images) -> None:
        """Fill the memory bank from good images: uint8 RGB (N, H, W, 3), or several such arrays.

        Raises `BadInput` without an image, or if the bank would hold fewer than `num_neighbors`
        patches.
        """
        self.fit_features([self.embed(train)])

    def score(self, images: Images) -> Scores:
        """Return raw scores (T,) and maps (T, S, S), upsampled and smoothed (σ = 4), of uint8 RGB images.

        Raises `GoodshotError` before `fit`, and for an output that is not finite.
        """
        return self._score(self._embedded(images, "images"), sum(map(len, as_batches(images, "images"))))

    @torch.no_grad()
    def embed(self, images: Images) -> Features:
        """Return patch features, float32 (N, C, h, w): both layers' features around each patch, at the first's size."""
        found = [features.cpu().numpy() for features in self._embedded(images, "images")]
        return np.concatenate(found) if found else np.empty((0, 0, 0, 0), np.float32)

    @torch.no_grad()
    def fit_features(self, train: Sequence[Features]) -> None:
        """`fit` on images given by their features (N, C, h, w). Raises as `fit` does."""
        self._model.memory_bank = torch.empty(0, device=self.device)
        # Copies, because torch does not accept read-only arrays (shared memory).
        rows = [self._model.patches(torch.from_numpy(part.copy())) for part in train if len(part)]
        if not rows:
            raise BadInput("train: there is no image to fit the detector on")
        patches = torch.cat(rows).to(self.device)
        self._check_size(len(patches))
        if not bool(torch.isfinite(patches).all()):
            raise GoodshotError(f"{self.config.label} gave non-finite features for the training images")
        if self.config.coreset_ratio < 1.0:
            with seeded(self.seed, self.device):
                patches = patches[select_coreset(patches, self.config.coreset_ratio)]
        self._model.memory_bank = patches

    def score_features(self, images: Features) -> Scores:
        """`score` images given by their features (T, C, h, w). Raises as `score` does."""
        each = (torch.from_numpy(images[i : i + 1].copy()).to(self.device) for i in range(len(images)))
        return self._score(each, len(images))

    @torch.no_grad()
    def _score(self, images: Iterable[Tensor], count: int) -> Scores:
        if len(self._model.memory_bank) == 0:
            raise GoodshotError(f"{self.config.label} has an empty memory bank: call fit before score")
        size = self.config.resolution
        scores = Scores(np.empty(count, np.float32), np.empty((count, size, size), np.float32))
        norms = self._model.memory_bank.square().sum(1)
        enlarging: tuple[Tensor, ...] = ()
        for index, features in enumerate(images):
            beat()
            patches = self._model.patches(features).contiguous()
            nearest = self._nearest(patches, norms)
            scores.image[index] = _finite(self._image_score(patches, nearest), "score", index).item()
            enlarging = enlarging or tuple(self._enlarging(side, size) for side in features.shape[-2:])
            down, across = enlarging
            anomaly_map = down @ nearest.reshape(features.shape[-2:]) @ across.T
            scores.maps[index] = _finite(anomaly_map, "anomaly map", index).cpu().numpy()
        return scores

    def _enlarging(self, side: int, size: int) -> Tensor:
        """The matrix (size, side) that enlarges one side of a map and smooths it.

        anomalib's nearest-neighbour enlarging and Gaussian are linear and act on each side alone: two small products
        replace a convolution with 33 × 33 weights.
        """
        kernel = self._model.kernel[None, None]
        units = torch.nn.functional.interpolate(torch.eye(side, device=self.device)[:, None], size=size)
        margin = kernel.shape[-1] // 2
        padded = torch.nn.functional.pad(units, (margin, margin), mode="reflect")
        return torch.nn.functional.conv1d(padded, kernel)[:, 0].T

    def _nearest(self, patches: Tensor, norms: Tensor) -> Tensor:
        """The distance (P,) of each patch (P, C) to its nearest patch of the bank; `norms` are the bank's squared
        norms.

        The distances equal anomalib's, but the bank is processed in blocks and only the smallest squared distances are
        finished: the (P, M) matrix, 88 MB for 21 images at 256 px, is never stored as a whole.
        """
        squares = [
            torch.addmm(block_norms.expand(len(patches), -1), patches, block.T, alpha=-2).amin(1)
            for block, block_norms in zip(
                torch.split(self._model.memory_bank, BLOCK), torch.split(norms, BLOCK), strict=True
            )
        ]
        return torch.stack(squares).amin(0).add_(patches.square().sum(1)).clamp_min_(0).sqrt_()

    def _image_score(self, patches: Tensor, nearest: Tensor) -> Tensor:
        """The largest distance, weighted by the isolation of that patch's nearest neighbour in the bank (eq. 7)."""
        if self.config.num_neighbors == 1:
            return nearest.amax()
        farthest = nearest.argmax(0, keepdim=True)
        return self._model.weighted(patches[farthest], nearest[farthest], self.config.num_neighbors)

    def _embedded(self, images: Images, name: str) -> Iterator[Tensor]:
        """Yields the patch features of one image after the other, (1, C, h, w)."""
        # Without no_grad here: a generator suspended inside it would leave the caller without gradients.
        return (self._read(pixels) for pixels in self._prepared(images, name))

    @torch.no_grad()
    def _read(self, pixels: Tensor) -> Tensor:
        return self._model.features(pixels.contiguous(memory_format=CHANNELS_LAST)).contiguous()

    def _check_size(self, patches: int) -> None:
        kept, wanted = int(patches * self.config.coreset_ratio), self.config.num_neighbors
        if kept < wanted:
            raise BadInput(f"num_neighbors={wanted} is more than the memory bank's {kept} patches")

    def _prepared(self, images: Images, name: str) -> Iterator[Tensor]:
        for batch in as_batches(images, name):
            for image in batch:
                beat()
                reading = reading_of(self.config.backbone)
                yield preprocess(image, self.config.image_size, self.config.crop, reading).to(self.device)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed both random states that the selection draws from, and restore the caller's afterwards.

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


def build_model(config: DetectorConfig, seed: int = 0) -> PatchNetwork:
    """Return the network with the backbone's pretrained weights and an empty memory bank.

    `seed` draws the weights if the configuration asks for random ones. Raises `BadInput` for a layer that the backbone
    does not have, `MissingWeights` where its weights are not on this machine.
    """
    on_lite0, pretrained = config.backbone == EMBEDDED_BACKBONE, config.weights == "pretrained"
    check_weights(config)
    if not on_lite0:
        check_layers(str(config.backbone), config.layers or ())
    with torch.random.fork_rng(devices=[]):  # the layers draw initial values, which loaded weights replace
        torch.manual_seed(seed)
        backbone = EMBEDDED_TIMM if on_lite0 else str(config.backbone)
        model = PatchNetwork(backbone, config.layers or (), pretrained and not on_lite0)
    if on_lite0 and pretrained:
        _load_backbone(model.feature_extractor.feature_extractor)
    return model


@lru_cache(maxsize=2)
def _network(config: DetectorConfig, seed: int, device: str) -> PatchNetwork:
    """The frozen feature network, which a process shares between the cells that it computes."""
    network = build_model(config, seed).to(device, memory_format=CHANNELS_LAST)  # type: ignore[call-overload]
    return network.eval()  # type: ignore[no-any-return]


def _of_the_network(config: DetectorConfig) -> DetectorConfig:
    """The configuration without the fields that only the memory bank depends on."""
    return config.model_copy(update={"coreset_ratio": 1.0, "alias": None})


def _with_a_bank_of_its_own(network: PatchNetwork) -> PatchNetwork:
    model = copy.copy(network)
    model._buffers = dict(network._buffers)
    return model


def _load_backbone(extractor: torch.nn.Module) -> None:
    """Load the feature extractor's weights strictly: those of the whole network except its head (the classifier)."""
    from goodshot.components.weights import efficientnet_lite0_state_dict

    weights, wanted = efficientnet_lite0_state_dict(), extractor.state_dict().keys()
    extractor.load_state_dict({key: tensor for key, tensor in weights.items() if key in wanted}, strict=True)


def _finite(output: Tensor, what: str, index: int) -> Tensor:
    if not bool(torch.isfinite(output).all()):
        raise GoodshotError(f"patchcore gave a non-finite {what} for test image {index}")
    return output
