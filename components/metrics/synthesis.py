"""Quality of made defective images: IS, IC-LPIPS (Tables 1 and 2), and the preservation of the background.

IC-LPIPS is the mean distance of images that resemble the same real one, so it grows with the variety of the defects
and just as well with damage to the background. Background preservation, which the paper does not measure, tells the
two apart. LPIPS and IS end in ``_lite0`` where the embedded network replaces the standard ones (`quality`).

# M made images of S × S pixels, R real ones, F values of an image's features in all layers
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from goodshot.components.defects import DefectImages
from goodshot.components.errors import BadInput
from goodshot.components.heartbeat import beat
from goodshot.components.metrics.detection import ALL
from goodshot.components.metrics.quality import (
    Distance,
    QualityNetworks,
    as_tensor,
    class_logits,
    inception_score,
    mean_pairwise,
    quality_networks,
)

HELD = 1 << 27
"""Maximum number of values of real images' features in memory at once: 512 MB."""
_CHUNK = 4

RGB = NDArray[np.uint8]


def synthesis_quality(
    made: DefectImages,
    goods: Sequence[RGB],
    owners: Sequence[int],
    real: DefectImages,
    networks: QualityNetworks | None = None,
) -> dict[str, dict[str, float]]:
    """Measure made defective images, all together and by type, reading each image once.

    Memory does not grow with their number beyond the images themselves.

    Args:
        made: M ≥ 1 images of S × S pixels.
        goods: the good images that they were made on, uint8 RGB (S, S, 3).
        owners: (M,), image m was made on ``goods[owners[m]]``.
        real: the real defective images that the generator has seen (the training third), of S × S pixels.
        networks: by default those of this machine.

    Returns:
        Values for :data:`ALL` images, and for each type if there are several: ``is`` without splits, in [1, M];
        ``ic_lpips`` and ``ic_clusters`` (`intra_cluster_lpips`); ``background_difference``, ``background_psnr`` and
        ``background_lpips`` (`Background`). The names of the networks' values end in ``_lite0`` if the embedded network
        replaces the standard ones.

    Raises:
        BadInput: no made or real image, different sizes, an owner without a good image, or a made image's type of
            which there is no real image.
    """
    networks = networks or quality_networks()
    _check(made, goods, owners, real)
    logits = class_logits(made.images, networks.classify)
    clusters = cluster_distances(made, real, networks.distance)
    background = Background.of(made, goods, owners, networks)

    def quality(images: Sequence[int], types: Sequence[str]) -> dict[str, float]:
        distance, count = intra_cluster_lpips([clusters[name] for name in types])
        return {
            networks.inception: inception_score(logits[images]),
            f"ic_{networks.lpips}": distance,
            "ic_clusters": float(count),
            **background.preserved(images),
        }

    found = {ALL: quality(range(len(made)), sorted(clusters))}
    for name in sorted(clusters) if len(clusters) > 1 else ():
        found[name] = quality([m for m, kind in enumerate(made.types) if kind == name], [name])
    return found


def cluster_distances(
    made: DefectImages, real: DefectImages, distance: Distance, held: int = HELD
) -> dict[str, list[float]]:
    """The value of each cluster of made images, by type.

    Every made image belongs to the cluster of the real image of its own type that is nearest by LPIPS, the first of
    equally near ones. A cluster's value is the mean LPIPS over all pairs of its images; the published code draws 50
    images of a cluster, here all count. A cluster of fewer than two images has no pair and is left out, as in the
    published code.

    Args:
        held: maximum number of values of real images' features in memory at once.
    """
    return {name: _type_clusters(made, real, name, distance, held) for name in sorted(set(made.types))}


def intra_cluster_lpips(by_type: Sequence[Sequence[float]]) -> tuple[float, int]:
    """IC-LPIPS (Ojha et al. 2021, arXiv:2104.06820), by kind of defect as in AnomalyDiffusion's evaluation.

    Clusters (`cluster_distances`) are averaged for each type, then types with a cluster.

    Returns:
        The distance (NaN if no cluster has two images), and how many clusters it rests on.
    """
    found = [values for values in by_type if values]
    mean = float(np.mean([np.mean(values) for values in found])) if found else math.nan
    return mean, sum(len(values) for values in found)


def _type_clusters(made: DefectImages, real: DefectImages, name: str, distance: Distance, held: int) -> list[float]:
    """The mean distance in each cluster of one type that has a pair."""
    own, references = (each.of([i for i, t in enumerate(each.types) if t == name]) for each in (made, real))
    nearest = nearest_images(own.images, references.images, distance, held)
    clusters = [own.images[nearest == r] for r in range(len(references))]
    return [mean_pairwise(cluster, distance) for cluster in clusters if len(cluster) > 1]


@torch.no_grad()
def nearest_images(images: RGB, references: RGB, distance: Distance, held: int = HELD) -> NDArray[np.intp]:
    """The index (M,) of the reference (R, H, W, 3) nearest to each image (M, H, W, 3); the first of equal ones.

    References are compared in blocks whose features have at most ``held`` values, or one by one.
    """
    nearest, least = torch.zeros(len(images), dtype=torch.long), torch.full((len(images),), math.inf)
    block = max(1, held // _features(references[:1], distance).shape[1])
    for start in range(0, len(references), block):
        theirs = torch.cat([_features(one[None], distance) for one in references[start : start + block]])
        for m in range(0, len(images), _CHUNK):
            beat()
            ours = _features(images[m : m + _CHUNK], distance)
            apart, at = _squared_distances(ours, theirs).min(1)
            closer = apart < least[m : m + _CHUNK]
            nearest[m : m + _CHUNK][closer] = at[closer] + start
            least[m : m + _CHUNK][closer] = apart[closer]
    return nearest.numpy()


def _features(images: RGB, distance: Distance) -> Tensor:
    """(B, F): the squared difference of two rows is their distance."""
    layers = distance.compared(as_tensor(images) * 2 - 1)
    return torch.cat([layer.flatten(1) / math.sqrt(layer[0, 0].numel()) for layer in layers], 1)


def _squared_distances(ours: Tensor, theirs: Tensor) -> Tensor:
    """Rows (B, F) and (R, F) → (B, R)."""
    return ours.pow(2).sum(1)[:, None] + theirs.pow(2).sum(1) - 2 * ours @ theirs.T


@dataclass(frozen=True)
class Background:
    """The difference of each made image from its good image outside the mask; NaN if the mask covers everything.

    absolute, squared: means over the pixels outside of the error in grey levels of 255, and of its square, (M,).
    perceptual: LPIPS between the good image and the made one with the good image's pixels inside the mask, (M,).
    lpips: the name of that distance.
    """

    absolute: NDArray[np.float64]
    squared: NDArray[np.float64]
    perceptual: NDArray[np.float64]
    lpips: str

    @classmethod
    @torch.no_grad()
    def of(
        cls, made: DefectImages, goods: Sequence[RGB], owners: Sequence[int], networks: QualityNetworks
    ) -> Background:
        """Measure each image."""
        found = np.full((3, len(made)), math.nan)
        for m in range(len(made)):
            good, mask = goods[owners[m]], made.masks[m]
            if mask.all():
                continue
            error = made.images[m].astype(np.float64) - good
            composite = np.where(mask[..., None], good, made.images[m])
            both = _features(np.stack([good, composite]), networks.distance)
            apart = float((both[0] - both[1]).pow(2).sum())
            found[:, m] = np.abs(error[~mask]).mean(), (error[~mask] ** 2).mean(), apart
        return cls(found[0], found[1], found[2], networks.lpips)

    def preserved(self, images: Sequence[int]) -> dict[str, float]:
        """The means over these images: ``background_difference``, ``background_psnr`` and ``background_lpips``.

        The PSNR is that of the mean squared error, in dB, so that one exact copy among many does not decide; inf if all
        are. All are NaN if the masks cover all these images entirely.
        """
        absolute, squared, perceptual = (
            float(np.nanmean(own)) if np.isfinite(own := values[list(images)]).any() else math.nan
            for values in (self.absolute, self.squared, self.perceptual)
        )
        return {
            "background_difference": absolute,
            "background_psnr": math.inf if squared == 0 else 10 * math.log10(255**2 / squared),
            f"background_{self.lpips}": perceptual,
        }


def _check(made: DefectImages, goods: Sequence[RGB], owners: Sequence[int], real: DefectImages) -> None:
    if not len(made) or not len(real):
        raise BadInput("synthesis quality: needs at least one made and one real defective image")
    sides = {made.side, real.side, *(side for good in goods for side in good.shape[:2])}
    if len(sides) > 1:
        raise BadInput(
            f"synthesis quality: made, good and real images have sides of {', '.join(map(str, sorted(sides)))} pixels; "
            "bring them to one"
        )
    if len(owners) != len(made) or not all(0 <= owner < len(goods) for owner in owners):
        raise BadInput(
            f"synthesis quality: needs the good image of each of {len(made)} made images, out of {len(goods)}"
        )
    if unknown := sorted(set(made.types) - set(real.types)):
        raise BadInput(
            f"synthesis quality: no real image of the type {unknown[0]!r}, which made images have; "
            f"real ones: {', '.join(sorted(set(real.types)))}"
        )
