"""Which kind of extra image helps a detector: the variety that a generator has to beat, and the kinds that hurt.

One-shot PatchCore (EfficientNet-Lite0, 256 px, whole bank, largest patch distance as the score) on the original and ten
extra images of one kind, over 14 supports of pill, a development category: image AUROC as mean ± std, and the paired
difference to plain strong augmentation with its 95 % interval. Four groups:

    plain      made from the photograph alone: what a generator's variety would be worth if it were as sharp as that
    real       other photographs, whole and in parts: what there is to gain, and what it consists of
    scratch    a small generator trained from scratch for 60 steps on each original
    embedded   generators from the embedded start, with measured, unit and predicted variance

    python -m benchmarks.variety [GROUP ...]

About ten minutes a group on two cores, `embedded` 40; it asserts nothing.
"""

from __future__ import annotations

import functools
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from goodshot.components.data import Sample, read_dataset, select_support, write_demo
from goodshot.components.data.images import decode_rgb
from goodshot.components.detectors import DetectorConfig, SharesFeatures, build_detector
from goodshot.components.generator.augment import POLICIES, augment, augmented_set, to_uint8
from goodshot.components.generator.config import EMBEDDED_NETWORK, GeneratorConfig, VariationConfig
from goodshot.components.generator.generator import Generator
from goodshot.components.generator.start import load_into, read_start
from goodshot.components.generator.start_file import start_file
from goodshot.components.generator.variation import Encoded, VarianceHead, encode_category, train_variance_head
from goodshot.components.generator.vqgan import VQGAN
from goodshot.components.metrics.detection import image_auroc
from goodshot.components.metrics.summary import mean_std, paired_difference

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "mvtec_ad_256"
CATEGORY, SIDE, COPIES, SUPPORTS = "pill", 256, 10, 14
TRAINING = GeneratorConfig(resolution=128)
UPDATES = 60

Image = NDArray[np.uint8]
Kind = Callable[[Image, int], Image | None]
"""An original (S, S, 3) and the support's seed → extra images (M, S, S, 3), or None for none."""


def main(groups: tuple[str, ...] = ()) -> str:
    """Return the table of these groups of kinds (all of them where none is named) as text."""
    if not REAL.is_dir():
        return f"variety: needs {REAL.name} beside the repository"
    samples = read_dataset("mvtec_ad", REAL, CATEGORY)
    train = {s.image_id: s for s in samples if s.split == "train"}
    bank = Bank([s for s in samples if s.split == "test"])
    kinds = {**BASELINES, **{name: kind for group in groups or GROUPS for name, kind in GROUPS[group].items()}}
    found: dict[str, dict[int, float]] = {name: {} for name in kinds}
    for seed in range(SUPPORTS):
        (chosen,) = select_support(tuple(train), 1, seed)
        original = decode_rgb(train[chosen].image_path.read_bytes(), SIDE)
        for name, kind in kinds.items():
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
    train = (s for s in read_dataset("mvtec_ad", REAL, CATEGORY) if s.split == "train")
    return tuple(decode_rgb(s.image_path.read_bytes(), SIDE) for s in train)


@functools.lru_cache(maxsize=1)
def _trained(original: bytes, seed: int) -> Generator:
    photograph = np.frombuffer(original, np.uint8).reshape(SIDE, SIDE, 3)
    generator = Generator([photograph], TRAINING, 1.0, seed)
    generator.advance(UPDATES)
    return generator


def of_real(part: Callable[[Tensor, Tensor], Tensor], count: int = COPIES) -> Kind:
    """A part of other real photographs (M, 3, S, S) put on the original (1, 3, S, S): what is it that they bring?"""

    def kind(original: Image, seed: int) -> Image:
        photographs = real()(original, seed)[:count]
        return to_uint8(part(_tensor(original[None]), _tensor(photographs)))

    return kind


def _tone(own: Tensor, other: Tensor) -> Tensor:
    """Mean and standard deviation of each colour."""
    deviations, means = own.std((2, 3), keepdim=True), own.mean((2, 3), keepdim=True)
    return (own - means) / deviations * other.std((2, 3), keepdim=True) + other.mean((2, 3), keepdim=True)


def _coarse(sigma: int) -> Callable[[Tensor, Tensor], Tensor]:
    """What remains under a Gaussian."""
    return lambda own, other: own + _blurred(other, sigma) - _blurred(own, sigma)


def _fine(sigma: int) -> Callable[[Tensor, Tensor], Tensor]:
    """What a Gaussian takes away."""
    return lambda own, other: other + _blurred(own, sigma) - _blurred(other, sigma)


def middle_scaled(local: bool) -> Callable[[Tensor, np.random.Generator], Tensor]:
    """The band between two Gaussians of 3 and 8 pixels, made weaker or stronger as a whole or by a smooth field."""

    def change(x: Tensor, rng: np.random.Generator) -> Tensor:
        gain = _field(rng, 6) if local else torch.tensor(rng.uniform(-0.6, 0.6)).float()
        return x + gain * (_blurred(x[None], 3) - _blurred(x[None], 8))[0]

    return change


def _blurred(x: Tensor, sigma: int) -> Tensor:
    offsets = torch.arange(-3 * sigma, 3 * sigma + 1).float()
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, -1)
    padded = F.pad(x, (3 * sigma,) * 4, mode="reflect")
    rows = F.conv2d(padded, kernel[..., None], groups=x.shape[1])
    return F.conv2d(rows, kernel[:, :, None], groups=x.shape[1])


def _tensor(images: Image) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255


def embedded(updates: int, detail: str, policy: str | None = "strong", **fields: Any) -> Kind:
    """A generator's images from the embedded start."""
    start = {"vqgan": "embedded", "init": "embedded", "learning_rate": 3e-4}
    config = GeneratorConfig.model_validate({"resolution": TRAINING.resolution, **start, **fields})

    def kind(original: Image, seed: int) -> Image:
        head = _variance_head() if config.variance == "predicted" else None
        generator = Generator([original], config, 1.0, seed, variance_head=head)
        generator.advance(updates)
        large = F.interpolate(_tensor(generator.sample(COPIES, detail)), (SIDE, SIDE), mode="bicubic").clamp(0, 1)
        if policy is None:
            return to_uint8(large)
        return to_uint8(torch.stack([augment(x, POLICIES[policy], 1, seed, (m,))[0] for m, x in enumerate(large)]))

    return kind


@functools.lru_cache(maxsize=1)
def _variance_head() -> VarianceHead:
    """Learned from every category at hand but the own one, and from the demo's photographs."""
    return train_variance_head(
        [e for name, e in encoded_categories().items() if name != CATEGORY], VariationConfig(), 0
    )


@functools.lru_cache(maxsize=1)
def encoded_categories() -> dict[str, Encoded]:
    """The development categories and the demo's photographs under the embedded encoder."""
    start = start_file("embedded")
    assert start is not None
    side = TRAINING.resolution
    vqgan = VQGAN(EMBEDDED_NETWORK, side).eval()
    load_into(vqgan, read_start(start.path), start.path)
    encoded = {}
    with tempfile.TemporaryDirectory() as folder:
        demo = write_demo(Path(folder) / "demo")
        sources = [(REAL, "bottle"), (REAL, CATEGORY), (REAL.parent, "hazelnut_toy")]
        sources += [(demo, name) for name in ("brick", "coin", "gravel")]
        for root, category in sources:
            train = [s for s in read_dataset("mvtec_ad", root, category) if s.split == "train"]
            images = [decode_rgb(s.image_path.read_bytes(), SIDE) for s in train]
            encoded[category] = encode_category(vqgan, images, side, POLICIES["mild"], TRAINING.augmentations, 0)
    return encoded


BASELINES: dict[str, Kind] = {"none": lambda original, seed: None, "strong": plainly("strong")}
GROUPS: dict[str, dict[str, Kind]] = {
    "plain": {
        "mild": plainly("mild"),
        "light, then strong": plainly("strong", light),
        "recombined views, then strong": plainly("strong", recombined),
        "noise, then strong": plainly("strong", noise),
        "elastic, then strong": plainly("strong", elastic),
        "middle band scaled, then strong": plainly("strong", middle_scaled(False)),
        "middle band scaled locally": plainly("strong", middle_scaled(True)),
    },
    "real": {
        "1 real photograph": of_real(lambda own, other: other, 1),
        "3 real photographs": of_real(lambda own, other: other, 3),
        "10 real photographs": real(),
        "10 real, then strong": real("strong"),
        "their tone": of_real(_tone),
        "their parts above 8 pixels": of_real(_coarse(8)),
        "their parts below 8 pixels": of_real(_fine(8)),
        "their parts below 3 pixels": of_real(_fine(3)),
    },
    "scratch": {
        "gen": generated("none"),
        "gen, then strong": generated("none", "strong"),
        "gen residual": generated("residual_256"),
        "gen residual, then strong": generated("residual_256", "strong"),
    },
    "embedded": {
        "decoded, 20 updates": embedded(20, "none", noise_correlation=4),
        "residual, 20 updates": embedded(20, "residual_256"),
        "residual, 20, smooth 4": embedded(20, "residual_256", noise_correlation=4),
        "residual": embedded(0, "residual_256"),
        "residual, unit": embedded(0, "residual_256", variance="unit"),
        "residual, predicted": embedded(0, "residual_256", variance="predicted"),
        "residual, predicted, smooth 2": embedded(0, "residual_256", variance="predicted", noise_correlation=2),
        "residual, predicted, smooth 8": embedded(0, "residual_256", variance="predicted", noise_correlation=8),
    },
}
"""Everything in the last group is under strong augmentation too."""


if __name__ == "__main__":
    print(main(tuple(sys.argv[1:])))
