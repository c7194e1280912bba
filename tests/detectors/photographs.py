"""The photographs the detector tests look at: scikit-image's textures, real ones beside the checkout."""

import os
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image

DATA = Path(os.environ.get("GOODSHOT_SHARED_DATA") or Path(__file__).resolve().parents[2].parent / "shared" / "data")


def texture_crops(name: str, count: int, size: int) -> NDArray[np.uint8]:
    """`count` different crops (count, size, size, 3) of scikit-image's brick, grass or gravel (512 px)."""
    photograph: NDArray[np.uint8] = getattr(skimage.data, name)()
    step = (photograph.shape[0] - size) // (count - 1)
    crops = [photograph[i * step : i * step + size, -size - i * step :][:, :size] for i in range(count)]
    return np.stack([np.repeat(crop[..., None], 3, axis=-1) for crop in crops])


def natural_folder(root: Path) -> Path:
    """An image folder of bricks in place of ImageNette, under `root`."""
    target = root / "bricks"
    target.mkdir()
    for i, image in enumerate(texture_crops("brick", 3, 128)):
        Image.fromarray(image).save(target / f"{i}.png")
    return root


def folder(*parts: str) -> Path:
    path = DATA.joinpath(*parts)
    if not path.is_dir():
        pytest.skip(f"real photographs absent: {path.relative_to(DATA.parent.parent)}")
    return path


def photograph(path: Path) -> NDArray[np.uint8]:
    """One image as a batch (1, H, W, 3)."""
    return np.asarray(Image.open(path).convert("RGB"))[None]


def mask(path: Path, size: int) -> NDArray[np.bool_]:
    """A mask (size, size), resized nearest."""
    resized = Image.open(path).convert("L").resize((size, size), Image.Resampling.NEAREST)
    return np.asarray(resized) > 127
