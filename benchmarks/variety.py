"""Which kind of extra image helps a detector: the variety that a generator has to beat, and the kinds that hurt.

One-shot PatchCore (EfficientNet-Lite0, 256 px, whole bank, largest patch distance as the score) on the original and ten
extra images of one kind, over 14 supports of pill, a development category: image AUROC as mean ± std, and the paired
difference to plain strong augmentation with its 95 % interval. Kinds marked `gen` come from a small generator trained
from scratch for 60 steps on each original; the others are made from the photograph alone and show what a generator's
variety would be worth if its images were as sharp as that. About 25 minutes on two cores; it asserts nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from components.data import Sample, scan, select_support
from components.data.images import decode_rgb
from components.detectors import DetectorConfig, SharesFeatures, build_detector
from components.generator.augment import POLICIES, augment, augmented_set, to_uint8
from components.generator.config import GeneratorConfig
from components.generator.generator import Generator
from components.metrics.detection import image_auroc
from components.metrics.summary import mean_std, paired_difference

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "mvtec_ad_256"
CATEGORY, SIDE, COPIES, SUPPORTS = "pill", 256, 10, 14
TRAINING = GeneratorConfig(resolution=128)
UPDATES = 60

Image = NDArray[np.uint8]
Kind = Callable[[Image, int], Image | None]
"""An original (S, S, 3) and the support's seed → extra images (M, S, S, 3), or None for none."""


def main() -> str:
    """Return the table as text."""
    if not REAL.is_dir():
        return f"variety: needs {REAL.name} beside the repository"
    samples = scan(REAL, CATEGORY, "mvtec_ad")
    train = {s.image_id: s for s in samples if s.split == "train"}
    bank = Bank([s for s in samples if s.split == "test"])
    found: dict[str, dict[int, float]] = {name: {} for name in KINDS}
    for seed in range(SUPPORTS):
        (chosen,) = select_support(tuple(train), 1, seed)
        original = decode_rgb(train[chosen].image_path.read_bytes(), SIDE)
        for name, kind in KINDS.items():
            found[name][seed] = bank.auroc(original, kind(original, seed))
    lines = [f"variety: {CATEGORY}, {SUPPORTS} supports, one original and {COPIES} extra images; image AUROC"]
    for name, by_seed in found.items():
        mean, std = mean_std(by_seed.values())
        d = paired_difference(by_seed, found["strong"])
        lines.append(f"  {name:<28} {mean:.3f} ± {std:.3f}   − strong {d.mean:+.3f} [{d.low:+.3f}, {d.high:+.3f}]")
    return "\n".join(lines)


class Bank:
    """The test images' distances to banks of patches; those to an original are measured once."""

    def __init__(self, test: list[Sample]) -> None:
        reader = build_detector(DetectorConfig(image_size=SIDE), 0)
        assert isinstance(reader, SharesFeatures)
        self._reader = reader
        self._labels = np.array([s.label for s in test])
        self._test = reader.embed(np.stack([decode_rgb(s.image_path.read_bytes(), SIDE) for s in test]))
        self._to_original: tuple[bytes, NDArray[np.float32]] | None = None

    def auroc(self, original: Image, extra: Image | None) -> float:
        """Image AUROC with the patches of these images."""
        if self._to_original is None or self._to_original[0] != original.tobytes():
            self._to_original = (original.tobytes(), self._distances(original[None]))
        nearest = self._to_original[1]
        if extra is not None:
            nearest = np.minimum(nearest, self._distances(extra))
        return image_auroc(nearest.max(1), self._labels)

    def _distances(self, images: Image) -> NDArray[np.float32]:
        """(T, P) of each test patch to the nearest patch of the images."""
        patches = _rows(self._reader.embed(images).transpose(0, 2, 3, 1))
        return np.stack([torch.cdist(_rows(t.transpose(1, 2, 0)), patches).amin(1).numpy() for t in self._test])


def _rows(features: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(features).reshape(-1, features.shape[-1]))


def plainly(policy: str, change: Callable[[Tensor, np.random.Generator], Tensor] = lambda x, _: x) -> Kind:
    """Views of the photograph by a policy, each of the photograph changed anew."""

    def kind(original: Image, seed: int) -> Image:
        views = [augment(x, POLICIES[policy], 1, seed, (m,))[0] for m, x in _changed(original, seed, change)]
        return to_uint8(torch.stack(views))

    return kind


def _changed(
    original: Image, seed: int, change: Callable[[Tensor, np.random.Generator], Tensor]
) -> Iterator[tuple[int, Tensor]]:
    photograph = torch.from_numpy(original.copy()).permute(2, 0, 1).float() / 255
    for m in range(COPIES):
        yield m, change(photograph, np.random.default_rng((seed, 99, m))).clamp(0, 1)


def light(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Uneven light: a smooth gain of standard deviation 0.1."""
    return x * (1 + 0.1 * _field(rng, 3))


def elastic(x: Tensor, rng: np.random.Generator) -> Tensor:
    """A smooth displacement of 3 pixels."""
    moved = torch.stack([_field(rng, 8), _field(rng, 8)], -1) * 3 * 2 / SIDE
    grid = F.affine_grid(torch.eye(2, 3)[None], [1, 3, SIDE, SIDE], align_corners=False) + moved[None]
    return F.grid_sample(x[None], grid, mode="bicubic", padding_mode="reflection", align_corners=False)[0]


def noise(x: Tensor, rng: np.random.Generator) -> Tensor:
    """White noise of 5 grey levels."""
    return x + torch.from_numpy(rng.standard_normal(x.shape)).float() * 5 / 255


def recombined(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Two mild views in a smooth patchwork: eq. 3's mean and variance, drawn from the views themselves."""
    views = augment(x, POLICIES["mild"], 2, int(rng.integers(2**31)), (7,))
    shares = torch.softmax(6 * torch.stack([_field(rng, 4), _field(rng, 4)]), 0)
    return (views * shares[:, None]).sum(0)


def _field(rng: np.random.Generator, cells: int) -> Tensor:
    coarse = torch.from_numpy(rng.standard_normal((1, 1, cells, cells))).float()
    return F.interpolate(coarse, (SIDE, SIDE), mode="bicubic", align_corners=False)[0, 0]


def generated(detail: str, policy: str | None = None) -> Kind:
    """A generator's images, with plain augmentation on top or without."""

    def kind(original: Image, seed: int) -> Image:
        images = torch.from_numpy(_trained(original.tobytes(), seed).sample(COPIES, detail)).permute(0, 3, 1, 2)
        large = F.interpolate(images.float() / 255, (SIDE, SIDE), mode="bicubic", align_corners=False).clamp(0, 1)
        if policy is None:
            return to_uint8(large)
        return to_uint8(torch.stack([augment(x, POLICIES[policy], 1, seed, (m,))[0] for m, x in enumerate(large)]))

    return kind


def real(policy: str | None = None) -> Kind:
    """Ten other photographs of good products instead: what no generator can be expected to exceed."""

    def kind(original: Image, seed: int) -> Image:
        others = [x for x in _photographs() if x.tobytes() != original.tobytes()]
        chosen = np.random.default_rng((seed, 98)).choice(len(others), COPIES, replace=False)
        images = np.stack([others[i] for i in chosen])
        if policy is None:
            return images
        return augmented_set(list(images), POLICIES[policy], COPIES, seed)

    return kind


@functools.lru_cache(maxsize=1)
def _photographs() -> tuple[Image, ...]:
    train = (s for s in scan(REAL, CATEGORY, "mvtec_ad") if s.split == "train")
    return tuple(decode_rgb(s.image_path.read_bytes(), SIDE) for s in train)


@functools.lru_cache(maxsize=1)
def _trained(original: bytes, seed: int) -> Generator:
    photograph = np.frombuffer(original, np.uint8).reshape(SIDE, SIDE, 3)
    generator = Generator([photograph], TRAINING, 1.0, seed)
    generator.advance(UPDATES)
    return generator


KINDS: dict[str, Kind] = {
    "none": lambda original, seed: None,
    "mild": plainly("mild"),
    "strong": plainly("strong"),
    "real photographs": real(),
    "real photographs, then strong": real("strong"),
    "light, then strong": plainly("strong", light),
    "recombined views, then strong": plainly("strong", recombined),
    "noise, then strong": plainly("strong", noise),
    "elastic, then strong": plainly("strong", elastic),
    "gen": generated("none"),
    "gen, then strong": generated("none", "strong"),
    "gen residual": generated("residual_256"),
    "gen residual, then strong": generated("residual_256", "strong"),
}
