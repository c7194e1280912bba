"""Real photographs for these tests: the demo's defective coins, and the categories beside the repository."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from goodshot.components.data import Sample, read_dataset
from goodshot.components.defects import DefectImages
from goodshot.components.defects.captions import read_captions
from goodshot.components.defects.foreground import foreground
from goodshot.components.defects.thirds import Thirds, split_thirds
from tests.data.conftest import SHARED, shared
from tests.defects.decoding import decode_defects, decode_images

SIDE = 64
__all__ = ["shared"]


class Category(NamedTuple):
    samples: list[Sample]
    thirds: Thirds
    goods: NDArray[np.uint8]
    products: NDArray[np.bool_]
    defects: DefectImages


def read(dataset: str, root: Path, category: str, captions: Path | None = None, side: int = SIDE) -> Category:
    samples = read_dataset(dataset, root, category)
    thirds = split_thirds(samples)
    sentences = read_captions(captions, category, samples, category).sentences
    goods = decode_images([s for s in samples if s.split == "train"][:12], side)
    return Category(samples, thirds, goods, foreground(goods), decode_defects(thirds.train, sentences, side))


@pytest.fixture(scope="session")
def coin(photographs: Path) -> Category:
    return read("demo", photographs, "coin")


@pytest.fixture(scope="session")
def real() -> Callable[[str], Category]:
    def read_real(category: str) -> Category:
        if not SHARED.is_dir():
            pytest.skip("the real photographs in ../shared/data are not here")
        return read("mvtec_ad", SHARED / "mvtec_ad_256", category, SHARED / "mvtec_caption")

    return read_real
