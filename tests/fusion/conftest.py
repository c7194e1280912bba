"""Real photographs with planted defects as the fusion learns them, and networks small enough for seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from goodshot.components.defects.images import DefectImages, Site
from goodshot.components.fusion.base import new_base
from goodshot.components.fusion.config import BaseConfig, FusionConfig, MaskEncoderConfig
from goodshot.components.fusion.features import DefectFeatures
from goodshot.components.fusion.fusion import Fusion
from goodshot.components.fusion.mask_encoder import new_mask_autoencoder

TINY_BASE = BaseConfig(channels=(16, 32), attention_levels=1, heads=2, width=32, batch=3, warmup=2)
TINY = FusionConfig.model_validate(
    {
        "resolution": 32,
        "small": TINY_BASE,
        "masks": {"channels": (8, 16)},
        "tokens": 2,
        "heads": 2,
        "batch": 3,
        "warmup": 2,
        "sampling": {"steps": 3, "batch": 3},
    }
)
SIDE = 48


def read(path: Path, mode: str = "RGB") -> np.ndarray:
    return np.array(Image.open(path).convert(mode).resize((SIDE, SIDE), Image.Resampling.NEAREST))


@pytest.fixture(scope="session")
def defects(photographs: Path) -> DefectImages:
    """Eight photographs of a coin with defects of four types, and their masks."""
    folder = photographs / "coin"
    files = [
        f
        for kind in sorted((folder / "ground_truth").iterdir())
        for f in sorted((folder / "test" / kind.name).iterdir())[:2]
    ]
    types = tuple(file.parent.name for file in files)
    masks = [next((folder / "ground_truth" / f.parent.name).glob(f"{f.stem}*")) for f in files]
    captions = tuple(f"a coin with a {kind}" for kind in types)
    return DefectImages(
        np.stack([read(f) for f in files]), np.stack([read(m, "L") > 127 for m in masks]), types, captions
    )


@pytest.fixture(scope="session")
def goods(photographs: Path) -> np.ndarray:
    return np.stack([read(file) for file in sorted((photographs / "coin" / "train" / "good").iterdir())[:3]])


@pytest.fixture(scope="session")
def features(defects: DefectImages) -> DefectFeatures:
    """Unit rows in place of an encoder's: what an encoder says is its own tests' matter."""
    drawn = np.random.default_rng(0).standard_normal((2, len(defects), 24), np.float32)
    text, image = drawn / np.linalg.norm(drawn, axis=2, keepdims=True)
    return DefectFeatures(text, image)


@pytest.fixture(scope="session")
def begin(defects: DefectImages, features: DefectFeatures) -> Callable[..., Fusion]:
    """A fusion at its first step; keyword arguments replace fields of the tiny configuration."""

    def make(seed: int = 0, **fields: Any) -> Fusion:
        config = TINY.model_copy(update=fields)
        base = new_base(32, TINY_BASE, seed=5)
        return Fusion(config, defects, features, seed, base, new_mask_autoencoder(config.masks, seed=5))

    return make


@pytest.fixture(scope="session")
def sites(defects: DefectImages) -> list[Site]:
    identity = np.eye(3)[:2]
    return [Site(i % 3, i, defects.masks[i], identity) for i in range(len(defects))]


TINY_MASKS = MaskEncoderConfig(channels=(8, 16, 32), batch=8, learning_rate=1e-2, warmup=5)
