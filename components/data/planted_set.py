"""A labelled set without any test image or label: normal images, and synthetic anomalies on them.

A search uses it as its objective `planted`: how well a detector separates the normal from the anomalous images.

Letters: N normal images, S their side.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from goodshot.components.config import Config
from goodshot.components.data.images import RGB
from goodshot.components.data.masks import Mask
from goodshot.components.data.planting import PLANTERS
from goodshot.components.data.sample import GOOD
from goodshot.components.data.shards import Split
from goodshot.components.errors import BadInput


class PlantedConfig(Config):
    """The size of such a set: at most `normals` normal images, with `defects` anomalous images of each."""

    normals: int = Field(default=16, ge=1)
    defects: int = Field(default=2, ge=1)


def planted_set(normals: Sequence[RGB], config: PlantedConfig, seed: int) -> Split:
    """Returns the first `config.normals` images, label 0, and `config.defects` synthetic anomalies of each, label 1.

    Every anomaly lies on one of the same images, so the two labels differ by the defect, not by the photograph.
    The kinds of `planting.PLANTERS` take turns. An image and its anomalies are a function of (seed, its index, its
    pixels).

    normals: N arrays uint8 RGB (S, S, 3) of equal side.

    Raises:
        BadInput: there is no image.
    """
    if not len(normals):
        raise BadInput("planted objective: there is no normal image for synthetic anomalies")
    chosen = list(normals)[: config.normals]
    kinds = list(PLANTERS)
    ids, images, masks, types = [], [], [], []
    for i, image in enumerate(chosen):
        ids.append(f"planted/{GOOD}/{i:03d}")
        images.append(image)
        masks.append(np.zeros(image.shape[:2], dtype=np.bool_))
        types.append(GOOD)
    for j in range(len(chosen) * config.defects):
        i, kind = j // config.defects, kinds[j % len(kinds)]
        image, mask = _planted(chosen[i], kind, np.random.default_rng([seed, 0x91A, j]))
        ids.append(f"planted/{kind}/{j:03d}")
        images.append(image)
        masks.append(mask)
        types.append(kind)
    labels = np.array([t != GOOD for t in types], dtype=np.int64)
    return Split(tuple(ids), np.stack(images), np.stack(masks), labels, tuple(types))


def _planted(image: RGB, kind: str, rng: np.random.Generator) -> tuple[RGB, Mask]:
    """The image with one synthetic anomaly, and its mask, which is not empty."""
    while True:
        defective, mask = PLANTERS[kind](image, rng)
        if mask.any():
            return defective, mask
