"""The study of the simulation: the paper's categories, shots, detectors, arms and sweep, on images of no content.

Categories have as many images as the data sets' publishers state; each image is 8 × 8 pixels of noise, because only
their number counts here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from goodshot.components.detectors.config import DetectorConfig
from goodshot.components.generator.config import GeneratorConfig
from goodshot.runner.data.config import DatasetConfig
from goodshot.runner.study.study import Study

MVTEC_AD = {
    "bottle": (209, 20, 63), "cable": (224, 58, 92), "capsule": (219, 23, 109), "carpet": (280, 28, 89),
    "grid": (264, 21, 57), "hazelnut": (391, 40, 70), "leather": (245, 32, 92), "metal_nut": (220, 22, 93),
    "pill": (267, 26, 141), "screw": (320, 41, 119), "tile": (230, 33, 84), "toothbrush": (60, 12, 30),
    "transistor": (213, 60, 40), "wood": (247, 19, 60), "zipper": (240, 32, 119),
}  # fmt: skip
MVTEC_LOCO = {
    "breakfast_box": (351, 102, 173), "juice_bottle": (335, 94, 236), "pushpins": (372, 138, 172),
    "screw_bag": (360, 122, 219), "splicing_connectors": (360, 119, 193),
}  # fmt: skip
BTAD = {"01": (400, 21, 49), "02": (399, 30, 200), "03": (1000, 400, 41)}
"""Training images, good test images, defective test images."""
DATASETS = {"mvtec_ad": MVTEC_AD, "mvtec_loco": MVTEC_LOCO, "btad": BTAD}
DETECTORS = ("patchcore", "cflow", "reverse_distillation", "efficient_ad")


def studies(root: Path, supports: int = 5, iterations: Sequence[int] = (20, 40, 60, 80, 100)) -> list[Study]:
    """All categories at 1 shot, 5 shots and all images. ``root`` is filled with their images, in one layout for all."""
    everything = {f"{name}_{category}": counts for name, own in DATASETS.items() for category, counts in own.items()}
    for number, (category, counts) in enumerate(everything.items()):
        _fill(root / category, counts, number)
    found = []
    for shots in (1, 5, "full"):
        fields: dict[str, Any] = {
            "name": f"paper_{shots}",
            "dataset": DatasetConfig(name="mvtec_ad", root=str(root)),
            "categories": tuple(everything),
            "objects": dict.fromkeys(everything, "bottle"),
            "shots": shots,
            "support_seeds": tuple(range(supports)) if shots != "full" else (0,),
            "arms": ("original", "augmented", "generated"),
            "vq_weight": (0.1, 0.3, 1.0, 3.0),
            "copies": (1, 2, 5, 10, 20, 40),
            "iterations": tuple(iterations),
            "score_every": min(iterations),
            "generator": GeneratorConfig(resolution=64),
            "detectors": tuple(DetectorConfig(name=name, image_size=256) for name in DETECTORS),
            "resources": {"generator_gpus": 1, "detector_gpus": 1},
        }
        found.append(Study.model_validate(fields))
    return found


def _fill(folder: Path, counts: tuple[int, int, int], seed: int) -> None:
    if folder.exists():
        return
    draw = np.random.default_rng(seed)
    for name, count in zip(("train/good", "test/good", "test/bad"), counts, strict=True):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(draw.integers(0, 255, (8, 8, 3), np.uint8)).save(folder / name / f"{i:04d}.png")
    masks = folder / "ground_truth" / "bad"
    masks.mkdir(parents=True)
    for i in range(counts[-1]):
        Image.new("L", (8, 8), 255).save(masks / f"{i:04d}_mask.png")
