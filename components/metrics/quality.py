"""Quality of a set of generated images without a detector: SSIM, PSNR, LPIPS, IS (Table 2), diversity, and what Fig. 2
compares a gain with: the similarity to the originals, and the visual variance.

LPIPS and IS have their standard names only if their networks are on this machine (VGG-16 and Inception v3 of
torchvision, in torch's hub cache). Otherwise EfficientNet-Lite0 replaces both, as ``lpips_lite0`` and
``is_lite0``: the same formulas on another network, not comparable with published values. The similarity to the
originals is always EfficientNet-Lite0's, because every machine has it.

# M images of H × W pixels, K originals, d = 1280 features
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from goodshot.components.errors import BadInput
from goodshot.components.heartbeat import beat
from goodshot.components.perceptual import PerceptualLoss, lpips_of_trunk
from goodshot.components.weights import load_efficientnet_lite0, resolve, weight
from goodshot.components.weights.registry import TORCHVISION

DIVERSITY_IMAGES = 40
"""Number of a set's first images for its diversity: VGG's features of one image take 32 MB at 256 px."""
_CHUNK = 8
_INCEPTION_SIDE = 299


class Distance(Protocol):
    """A perceptual distance: squared differences of features, averaged over positions and summed over layers."""

    def compared(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [−1, 1] → (B, C, h, w) by layer."""
        ...


@dataclass(frozen=True)
class QualityNetworks:
    """The networks for LPIPS, IS and the similarity to the originals, and the names of the first two."""

    lpips: str
    distance: Distance
    inception: str
    classify: nn.Module
    """(B, 3, H, W) in [−1, 1] → logits (B, classes)."""
    embed: Callable[[Tensor], Tensor]
    """(B, 3, H, W) in [−1, 1] → features (B, d)."""


def image_quality(
    images: NDArray[np.uint8], originals: Sequence[NDArray[np.uint8]], networks: QualityNetworks | None = None
) -> dict[str, float]:
    """Measure the quality of a set.

    Args:
        images: uint8 RGB (M, H, W, 3), M ≥ 1.
        originals: K arrays uint8 (H', W', 3), resized to the images' size; image m is compared with original m mod K.
        networks: by default those of this machine.

    Returns:
        ``ssim`` (mean, in [−1, 1]) and ``psnr`` (mean, dB; inf for an exact copy) to the original; ``lpips`` (mean);
        ``is``: exp of the mean KL divergence of an image's class probabilities from the set's mean, in [1, M];
        ``diversity_lpips``: mean LPIPS over all pairs of the set's first images, NaN for a single one. The names of
        these three end in ``_lite0`` if the embedded network replaces the standard ones.
        ``original_similarity_lite0``: cosine, in [−1, 1], of the mean unit feature of all originals and that of the
        images; ``pixel_variance``: the variance (biased) across the images of a value in [0, 1], mean over pixels and
        channels, in [0, 0.25] and 0 for a single image.

    Raises:
        BadInput: no image, or images smaller than 11 pixels (SSIM's window).
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    if not len(images) or not len(originals):
        raise BadInput("image quality: needs at least one image and one original")
    if min(images.shape[1:3]) < 11:
        raise BadInput(
            f"image quality: {images.shape[2]} × {images.shape[1]} pixels are fewer than SSIM's window of 11"
        )
    networks = networks or quality_networks()
    got = as_tensor(images)
    size = (got.shape[2], got.shape[3])
    # Image m belongs to original m mod K; if there are more originals than images, the last ones have none.
    compared = list(originals)[: len(got)]
    wanted = torch.stack([_resized(as_tensor(original[None]), size)[0].clamp(0, 1) for original in compared])
    owners = [m % len(compared) for m in range(len(got))]
    ssim, psnr = [], []
    dimensions: dict[str, Any] = {"data_range": 1.0, "reduction": "none"}
    for m in range(0, len(got), _CHUNK):
        beat()
        pair = got[m : m + _CHUNK], wanted[owners[m : m + _CHUNK]]
        ssim.append(torch.as_tensor(structural_similarity_index_measure(*pair, **dimensions)).reshape(-1))
        psnr.append(peak_signal_noise_ratio(*pair, dim=(1, 2, 3), **dimensions))
    return {
        "ssim": float(torch.cat(ssim).mean()),
        "psnr": float(torch.cat(psnr).mean()),
        networks.lpips: _lpips(got, wanted, owners, networks.distance),
        networks.inception: inception_score(class_logits(images, networks.classify)),
        f"diversity_{networks.lpips}": mean_pairwise(images[:DIVERSITY_IMAGES], networks.distance),
        "original_similarity_lite0": _original_similarity(got, originals, networks.embed),
        "pixel_variance": float(got.var(0, correction=0).mean()),
    }


def network_names() -> tuple[str, str]:
    """The names of LPIPS and IS on this machine; no network is loaded."""
    return (
        "lpips" if hub_file("vgg16") else "lpips_lite0",
        "is" if hub_file("inception_v3") else "is_lite0",
    )


def inception_score(logits: Tensor) -> float:
    """Logits (M, classes) → exp(mean_m KL(p(y|x_m) ‖ mean p(y))) of the whole set (no splits); in [1, M]."""
    log_p = logits.double().log_softmax(1)
    mean = log_p.exp().mean(0).clamp_min(1e-300).log()
    return math.exp(float((log_p.exp() * (log_p - mean)).sum(1).mean()))


@lru_cache(maxsize=1)
def quality_networks() -> QualityNetworks:
    """The standard networks if their files are in torch's hub cache, else EfficientNet-Lite0.

    Raises :class:`BadInput` for a file that is not the published one.
    """
    vgg, inception = hub_file("vgg16"), hub_file("inception_v3")
    distance: Distance = _vgg_lpips(vgg) if vgg else PerceptualLoss()
    lite0 = load_efficientnet_lite0()
    classify = _Inception(inception) if inception else lite0
    lpips, score = network_names()
    return QualityNetworks(lpips, distance, score, classify.eval(), _pooled(lite0))


def hub_file(network: str) -> Path | None:
    """The path of torchvision's ``vgg16`` or ``inception_v3`` in torch's hub cache, None if it is not there.

    Raises :class:`BadInput` for a file that is not the published one.
    """
    name = f"{TORCHVISION}{network}"
    return resolve(name).path if weight(name).path is not None else None


def _vgg_lpips(path: Path) -> Distance:
    """torchvision's VGG-16 with LPIPS' channel weights (v0.1), which torchmetrics contains."""
    import torchmetrics.functional.image

    bundled = Path(torchmetrics.functional.image.__file__).parent / "lpips_models" / "vgg.pth"
    channels = torch.load(bundled, map_location="cpu", weights_only=True)
    trunk = torch.load(path, map_location="cpu", weights_only=True)
    return lpips_of_trunk(trunk, channels)


class _Inception(nn.Module):
    """torchvision's Inception v3: the network of the original score, ported from TensorFlow."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        from torchvision.models import inception_v3

        self.network = inception_v3(weights=None, init_weights=False, transform_input=False, aux_logits=True)
        self.network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))

    def forward(self, images: Tensor) -> Tensor:
        # The port keeps TensorFlow's input range, which equals the images' range.
        logits: Tensor = self.network(_resized(images, (_INCEPTION_SIDE, _INCEPTION_SIDE)))
        return logits


def _pooled(lite0: nn.Module) -> Callable[[Tensor], Tensor]:
    """EfficientNet-Lite0 up to its classifier."""
    network: Any = lite0
    return lambda images: network.forward_head(network.forward_features(images), pre_logits=True)


@torch.no_grad()
def _original_similarity(
    images: Tensor, originals: Sequence[NDArray[np.uint8]], embed: Callable[[Tensor], Tensor]
) -> float:
    size = (images.shape[2], images.shape[3])
    # One original at a time: there may be hundreds, and large ones.
    own = torch.cat([embed(_resized(as_tensor(original[None]), size).clamp(0, 1) * 2 - 1) for original in originals])
    added = torch.cat([embed(chunk * 2 - 1) for chunk in torch.split(images, _CHUNK)])
    means = [F.normalize(features, dim=1).double().mean(0) for features in (own, added)]
    return float(F.cosine_similarity(means[0], means[1], dim=0))


@torch.no_grad()
def _lpips(images: Tensor, originals: Tensor, owners: Sequence[int], distance: Distance) -> float:
    total = 0.0
    # One original at a time: VGG's features of one take as much memory as a hundred images.
    for k, original in enumerate(originals):
        own = distance.compared(original[None] * 2 - 1)
        for m in (m for m, owner in enumerate(owners) if owner == k):
            layers = zip(distance.compared(images[m : m + 1] * 2 - 1), own, strict=True)
            total += sum(float((got - want).pow(2).sum(1).mean()) for got, want in layers)
    return total / len(owners)


@torch.no_grad()
def mean_pairwise(images: NDArray[np.uint8], distance: Distance) -> float:
    """Mean distance over all pairs of images, uint8 RGB (M, H, W, 3); NaN for fewer than two.

    The sum of ‖a − b‖² over ordered pairs is 2·(M·Σ‖a‖² − ‖Σ a‖²), so it takes one image at a time in memory and time
    in proportion to M.
    """
    if len(images) < 2:
        return math.nan
    sums: list[Tensor] = []
    squares = 0.0
    for image in images:
        compared = distance.compared(as_tensor(image[None]) * 2 - 1)
        layers = [layer.double() / math.sqrt(layer[0, 0].numel()) for layer in compared]
        squares += sum(float(layer.pow(2).sum()) for layer in layers)
        sums = [a + b for a, b in zip(sums, layers, strict=True)] if sums else layers
    apart = len(images) * squares - sum(float(layer.pow(2).sum()) for layer in sums)
    return max(0.0, 2 * apart / (len(images) * (len(images) - 1)))


@torch.no_grad()
def class_logits(images: NDArray[np.uint8], classify: nn.Module) -> Tensor:
    """uint8 RGB (M, H, W, 3) → logits (M, classes), a few images at a time."""
    chunks = (images[m : m + _CHUNK] for m in range(0, len(images), _CHUNK))
    return torch.cat([classify(as_tensor(chunk) * 2 - 1) for chunk in chunks])


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    if images.shape[2:] == size:
        return images
    return F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False)


def as_tensor(images: NDArray[np.uint8]) -> Tensor:
    """uint8 RGB (M, H, W, 3) → float32 (M, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 255
