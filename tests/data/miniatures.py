"""Layout-exact miniatures of datasets that cannot be shipped, cut from scikit-image's coffee cup."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

SIDE = 48
DEFECTS = [
    {"defect_name": "missing_pushpin", "pixel_value": 255, "saturation_threshold": 60, "relative_saturation": False},
    {"defect_name": "damaged", "pixel_value": 254, "saturation_threshold": 0.5, "relative_saturation": True},
    {"defect_name": "color", "pixel_value": 100, "saturation_threshold": 1.0, "relative_saturation": True},
]


def photo(path: Path, number: int, mode: str = "RGB") -> None:
    crop = np.asarray(skimage.data.coffee())[100 + number : 100 + number + SIDE, 200 : 200 + SIDE]
    save(path, Image.fromarray(crop).convert(mode))


def mask(path: Path, where: tuple[slice, slice], value: int = 255) -> None:
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    pixels[where] = value
    save(path, Image.fromarray(pixels))


def save(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def loco(root: Path, category: str = "pushpins") -> Path:
    """3 train, 2 validation, 2 good test images; 2 logical ones (2 and 1 masks) and 1 structural (3 masks)."""
    folder = root / category
    for split, count in (("train", 3), ("validation", 2), ("test", 2)):
        for i in range(count):
            photo(folder / split / "good" / f"{i:03d}.png", 3 * len(split) + i)
    truth = {
        "logical_anomalies/000": [(slice(0, 10), 255), (slice(20, 24), 254)],
        "logical_anomalies/001": [(slice(5, 9), 255)],
        "structural_anomalies/000": [(slice(0, 4), 254), (slice(8, 12), 254), (slice(30, 40), 100)],
    }
    for number, (image, masks) in enumerate(truth.items()):
        photo(folder / "test" / f"{image}.png", 20 + number)
        for i, (rows, value) in enumerate(masks):
            mask(folder / "ground_truth" / image / f"{i:03d}.png", (rows, slice(0, 10)), value)
    (folder / "defects_config.json").write_text(json.dumps(DEFECTS))
    return root


def btad(root: Path) -> Path:
    """01: bmp with png masks; 02: all png; 03: all bmp. 3 train, 2 good and 2 defective test images each."""
    for category, image, truth in (("01", "bmp", "png"), ("02", "png", "png"), ("03", "bmp", "bmp")):
        for place, start, count in (("train/ok", 0, 3), ("test/ok", 10, 2), ("test/ko", 20, 2)):
            for i in range(count):
                photo(root / category / place / f"{i:04d}.{image}", start + i)
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
