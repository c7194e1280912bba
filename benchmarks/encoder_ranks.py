"""Does an encoder know what is in a photograph? The rank of its obvious name among the names of all.

The photographs inside scikit-image that have an obvious name, and where they are beside the repository three products;
each against "a photo of a {name}" for the names of all of them and further objects of the datasets. Rank 1 is best.

    python -m benchmarks.encoder_ranks [ENCODER]

Under a minute on two cores; it asserts nothing.
"""

from __future__ import annotations

import sys

import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray

from benchmarks.variety import REAL
from goodshot.components.data import read_dataset
from goodshot.components.data.images import decode_rgb
from goodshot.components.encoders import build_encoder
from goodshot.components.prompts import known_objects

PHOTOGRAPHS = {
    "astronaut": "astronaut",
    "brick": "brick",
    "camera": "photographer",
    "chelsea": "cat",
    "clock": "clock",
    "coffee": "coffee",
    "coins": "coin",
    "grass": "grass",
    "gravel": "gravel",
    "hubble_deep_field": "galaxy",
    "moon": "moon",
    "page": "page of text",
    "rocket": "rocket",
}
"""scikit-image's name → what anyone would call it."""
PRODUCTS = ("bottle", "pill", "hazelnut_toy")


def main(encoder: str = "conse-lite0-minilm") -> str:
    """Return the table as text."""
    built = build_encoder(encoder)
    objects = known_objects()
    pictures = {name: (word, _rgb(getattr(skimage.data, name)())) for name, word in PHOTOGRAPHS.items()}
    for category in PRODUCTS if REAL.is_dir() else ():
        root = REAL.parent if category == "hazelnut_toy" else REAL
        first = next(s for s in read_dataset("mvtec_ad", root, category) if s.split == "train")
        pictures[f"{category} ({first.image_id})"] = (objects[category], decode_rgb(first.image_path.read_bytes()))
    words = sorted({word for word, _ in pictures.values()} | {*objects.values()})
    texts = built.encode_texts([f"a photo of a {word}" for word in words])
    lines, ranks = [f"encoder_ranks: {encoder}, {len(pictures)} photographs, {len(words)} names"], []
    for name, (word, picture) in pictures.items():
        image = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
        cosines = texts @ built.encode_images(image)[0]
        order = [words[i] for i in cosines.argsort(descending=True)]
        ranks.append(order.index(word) + 1)
        lines.append(f"  {name:<24} {word:<14} rank {ranks[-1]:>2}   first: {', '.join(order[:3])}")
    lines.append(
        f"  mean rank {np.mean(ranks):.1f}, median {np.median(ranks):g}, first {ranks.count(1)} of {len(ranks)}"
    )
    return "\n".join(lines)


def _rgb(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.stack([picture] * 3, axis=-1) if picture.ndim == 2 else picture


if __name__ == "__main__":
    print(main(*sys.argv[1:2]))
