"""A labelled set without any test image or label: normal images, and defects planted on them.

What a search may look at (its objective `planted`): how well a detector tells the one from the other.

Letters: N normal images, S their side.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from components.config import Config
from components.data.images import RGB, Mask
from components.data.planting import PLANTERS
from components.data.sample import GOOD
from components.data.shards import Split
from components.errors import BadInput


class PlantedConfig(Config):
    """How many images such a set has: `normals` at most, with `defects` planted images of each."""

    normals: int = Field(default=16, ge=1)
    defects: int = Field(default=2, ge=1)


def planted_set(normals: Sequence[RGB], config: PlantedConfig, seed: int) -> Split:
    """Returns the first `config.normals` of the images, label 0, and `config.defects` planted ones of each, label 1.

    Every defect lies on one of the same images, so what tells the two apart is the defect, not the photograph.
    The kinds of `planting.PLANTERS` take turns. An image and its defects are a function of (seed, its place, its
    pixels).

    normals: N arrays uint8 RGB (S, S, 3) of one side.

    Raises:
        BadInput: there is no image.
    """
    if not len(normals):
        raise BadInput("planted objective: there is no normal image to plant defects on")
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
    """One defect whose mask is not empty."""
    while True:
        defective, mask = PLANTERS[kind](image, rng)
        if mask.any():
            return defective, mask
