"""The picture in docs/generator.md: what a generated image of one freely licensed photograph looks like, by setting.

    python -m benchmarks.pictures docs/generator.jpg

Rows of six samples each, from the photograph of a coffee cup inside scikit-image, at 128 px. Needs no dataset, and
about four minutes on two cores.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import skimage.data
from numpy.typing import NDArray

from goodshot.components.contact_sheet import contact_sheet
from goodshot.components.data import write_demo
from goodshot.components.data.images import decode_rgb
from goodshot.components.generator.augment import MILD, POLICIES, augmented_set
from goodshot.components.generator.config import GeneratorConfig, VariationConfig
from goodshot.components.generator.generator import Generator
from goodshot.components.generator.start import load_into, read_start
from goodshot.components.generator.start_file import start_file
from goodshot.components.generator.variation import VarianceHead, encode_category, train_variance_head
from goodshot.components.generator.vqgan import VQGAN

SIDE, SAMPLES = 128, 6
SCRATCH: dict[str, Any] = {"resolution": SIDE}
EMBEDDED: dict[str, Any] = {"resolution": SIDE, "init": "embedded", "vqgan": "embedded", "learning_rate": 3e-4}
Image = NDArray[np.uint8]


def main(target: Path) -> None:
    """Write the sheet; the format is the extension's."""
    photograph = np.ascontiguousarray(skimage.data.coffee()[:400, 100:500])
    with tempfile.TemporaryDirectory() as folder:
        head = variance_head(Path(folder) / "demo")
    rows: list[tuple[str, list[Image]]] = [
        (
            "the photograph; strong augmentation of it",
            [photograph, *augmented_set([photograph], POLICIES["strong"], 5, 0)],
        )
    ]
    kept: dict[str, Generator] = {}
    for label, config, updates, detail in SETTINGS:
        rows.append((label, list(sampled(photograph, config, updates, detail, head, kept))))
    with PIL.Image.open(io.BytesIO(contact_sheet(rows))) as sheet:
        sheet.save(target, quality=88)


def sampled(
    photograph: Image, config: dict[str, Any], updates: int, detail: str, head: VarianceHead, kept: dict[str, Generator]
) -> Sequence[Image]:
    """Images of a generator after so many updates on the photograph; two settings of one training share it."""
    options = GeneratorConfig.model_validate(config)
    key = f"{options.model_dump_json()} {updates}"
    if key not in kept:
        own = head if options.variance == "predicted" else None
        kept[key] = Generator([photograph], options, 1.0, 0, variance_head=own)
        kept[key].advance(updates)
    return list(kept[key].sample(SAMPLES, detail))


def variance_head(folder: Path) -> VarianceHead:
    """Learned from the demo's brick, coins and gravel: nothing that shows a cup."""
    root = write_demo(folder)
    config = GeneratorConfig.model_validate(EMBEDDED)
    start = start_file("embedded")
    assert start is not None
    vqgan = VQGAN(config.vqgan, SIDE).eval()
    load_into(vqgan, read_start(start.path), start.path)
    encoded = []
    for category in ("brick", "coin", "gravel"):
        files = sorted((root / category / "train" / "good").iterdir())
        images = [decode_rgb(path.read_bytes()) for path in files]
        encoded.append(encode_category(vqgan, images, SIDE, MILD, config.augmentations, 0))
    return train_variance_head(encoded, VariationConfig(), 0)


SETTINGS: list[tuple[str, dict[str, Any], int, str]] = [
    ("from scratch, 60 updates, decoded as it is", SCRATCH, 60, "none"),
    ("from scratch, 60 updates, residual on the photograph: preset default", SCRATCH, 60, "residual_256"),
    ("embedded start, no update", EMBEDDED, 0, "none"),
    ("embedded start, 40 updates", EMBEDDED, 40, "none"),
    ("embedded start, 40 updates, residual", EMBEDDED, 40, "residual_256"),
    ("embedded start, 40 updates, noise smooth over 4 positions", {**EMBEDDED, "noise_correlation": 4}, 40, "none"),
    ("predicted variance, no update, residual", {**EMBEDDED, "variance": "predicted"}, 0, "residual_256"),
    (
        "predicted variance, noise smooth over 8 positions, residual",
        {**EMBEDDED, "variance": "predicted", "noise_correlation": 8},
        0,
        "residual_256",
    ),
    ("unit variance, no update, residual", {**EMBEDDED, "variance": "unit"}, 0, "residual_256"),
]

if __name__ == "__main__":
    main(Path(sys.argv[1]))
