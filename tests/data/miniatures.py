"""Layout-exact miniatures of datasets that cannot be shipped, cut from scikit-image's coffee cup."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from goodshot.components.data.datasets import dataset_of

SIDE = 48
LEFT = 200
DEFECTS = [
    {"defect_name": "missing_pushpin", "pixel_value": 255, "saturation_threshold": 60, "relative_saturation": False},
    {"defect_name": "damaged", "pixel_value": 254, "saturation_threshold": 0.5, "relative_saturation": True},
    {"defect_name": "color", "pixel_value": 100, "saturation_threshold": 1.0, "relative_saturation": True},
]


def photo(path: Path, number: int, mode: str = "RGB", left: int = LEFT) -> None:
    """A crop of the cup; another `number` or `left` is another crop."""
    crop = np.asarray(skimage.data.coffee())[100 + number : 100 + number + SIDE, left : left + SIDE]
    save(path, Image.fromarray(crop).convert(mode))


def mask(path: Path, where: tuple[slice, slice], value: int = 255) -> None:
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    pixels[where] = value
    save(path, Image.fromarray(pixels))


def save(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def mvtec_ad(root: Path, category: str, left: int = LEFT) -> Path:
    """6 train, 3 good test images; 2 images each of the defects `broken` and `scratch`."""
    folder = root / category
    for place, start, count in (
        ("train/good", 0, 6),
        ("test/good", 10, 3),
        ("test/broken", 20, 2),
        ("test/scratch", 30, 2),
    ):
        for i in range(count):
            photo(folder / place / f"{i:03d}.png", start + i, left=left)
    for kind, rows in (("broken", slice(4, 20)), ("scratch", slice(30, 36))):
        for i in range(2):
            mask(folder / "ground_truth" / kind / f"{i:03d}_mask.png", (rows, slice(i, 12)))
    return root


def every_category(folder: Path) -> dict[str, Path]:
    """Dataset → its root below `folder`, with all of its categories: 15 of MVTec AD, 5 of MVTec LOCO AD, 3 of BTAD.

    No two categories have an image in common.
    """
    lefts = iter(range(0, 23 * 20, 20))
    roots = {name: folder / name for name in ("mvtec_ad", "mvtec_loco", "btad")}
    for category in dataset_of("mvtec_ad").categories:
        mvtec_ad(roots["mvtec_ad"], category, next(lefts))
    for category in dataset_of("mvtec_loco").categories:
        loco(roots["mvtec_loco"], category, next(lefts))
    btad(roots["btad"], tuple(lefts))
    return roots


def loco(root: Path, category: str = "pushpins", left: int = LEFT) -> Path:
    """3 train, 2 validation, 2 good test images; 2 logical ones (2 and 1 masks) and 1 structural (3 masks)."""
    folder = root / category
    for split, count in (("train", 3), ("validation", 2), ("test", 2)):
        for i in range(count):
            photo(folder / split / "good" / f"{i:03d}.png", 3 * len(split) + i, left=left)
    truth = {
        "logical_anomalies/000": [(slice(0, 10), 255), (slice(20, 24), 254)],
        "logical_anomalies/001": [(slice(5, 9), 255)],
        "structural_anomalies/000": [(slice(0, 4), 254), (slice(8, 12), 254), (slice(30, 40), 100)],
    }
    for number, (image, masks) in enumerate(truth.items()):
        photo(folder / "test" / f"{image}.png", 20 + number, left=left)
        for i, (rows, value) in enumerate(masks):
            mask(folder / "ground_truth" / image / f"{i:03d}.png", (rows, slice(0, 10)), value)
    (folder / "defects_config.json").write_text(json.dumps(DEFECTS))
    return root


def btad(root: Path, lefts: tuple[int, ...] = (LEFT, LEFT, LEFT)) -> Path:
    """01: bmp with png masks; 02: all png; 03: all bmp. 3 train, 2 good and 2 defective test images each."""
    kinds = (("01", "bmp", "png"), ("02", "png", "png"), ("03", "bmp", "bmp"))
    for (category, image, truth), left in zip(kinds, lefts, strict=True):
        for place, start, count in (("train/ok", 0, 3), ("test/ok", 10, 2), ("test/ko", 20, 2)):
            for i in range(count):
                photo(root / category / place / f"{i:04d}.{image}", start + i, left=left)
        for i in range(2):
            mask(root / category / "ground_truth/ko" / f"{i:04d}.{truth}", (slice(i, i + 9), slice(4, 20)))
    return root


def own(root: Path, good: int = 9, bad: int = 0, masked: bool = False) -> Path:
    """A user's folder; with defects, one kind in bad/ itself and one in a folder of its own."""
    for i in range(good):
        photo(root / "good" / f"part {i} – größe.png", i)
    for i in range(bad):
        name = f"{i}.png" if i % 2 else f"scratch/{i}.png"
        photo(root / "bad" / name, 30 + i)
        if masked:
            mask(root / "masks" / name, (slice(0, 5), slice(0, 5)))
    return root
