"""COCO's instances: one JSON with an annotation for each connected part of each mask.

    images/0000.png …        made images, then images/good_0000.png … without annotations
    annotations.json         categories are the defect types; captions in the images' entries

A segmentation is COCO's uncompressed run-length encoding, which is exact, holes and single pixels included, where a
polygon would not be; pycocotools and the libraries on it read both.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from goodshot.components.data.images import encode_png
from goodshot.components.defects.images import DefectImages
from goodshot.components.defects.layouts.layout import RGB, Layout, Mask, kinds, parts, put


@dataclass(frozen=True)
class Coco(Layout):
    """COCO's JSON of instances."""

    name: ClassVar[str] = "coco"
    read_by: ClassVar[str] = "pycocotools, and what is built on it"

    def write(self, made: DefectImages, goods: RGB, object_name: str, folder: Path) -> None:
        """See `Layout.write`."""
        classes = {kind: 1 + i for i, kind in enumerate(kinds(made))}
        names = [f"{i:04d}.png" for i in range(len(made))] + [f"good_{i:04d}.png" for i in range(len(goods))]
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, (name, image) in enumerate(zip(names, [*made.images, *goods], strict=True), start=1):
            put(folder / "images" / name, encode_png(image))
            images.append({"id": number, "file_name": name, "width": image.shape[1], "height": image.shape[0]})
        for entry, mask, kind, caption in zip(images, made.masks, made.types, made.captions, strict=False):
            entry["caption"] = caption
            for part in parts(mask):
                found = {"image_id": entry["id"], "category_id": classes[kind], **instance(part)}
                annotations.append({"id": len(annotations) + 1, **found})
        categories = [{"id": number, "name": kind, "supercategory": object_name} for kind, number in classes.items()]
        written = {"images": images, "annotations": annotations, "categories": categories}
        put(folder / "annotations.json", json.dumps(written))


def instance(mask: Mask) -> dict[str, Any]:
    """Returns a mask, bool (H, W), as an annotation: segmentation, bbox [x, y, width, height] and area in pixels."""
    rows, columns = np.nonzero(mask)
    top, left = int(rows.min()), int(columns.min())
    return {
        "segmentation": {"size": [*mask.shape], "counts": run_lengths(mask)},
        "bbox": [left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1],
        "area": int(mask.sum()),
        "iscrowd": 0,
    }


def run_lengths(mask: Mask) -> Sequence[int]:
    """Returns the lengths of the runs of equal pixels, column after column, the first one of unmarked pixels."""
    pixels = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(pixels)) + 1
    lengths = [int(n) for n in np.diff([0, *edges, len(pixels)])]
    return [0, *lengths] if pixels[0] else lengths
