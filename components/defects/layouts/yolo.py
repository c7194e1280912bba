"""YOLO's segmentation labels, as ultralytics' loader reads them.

    data.yaml                              the classes are the defect types
    images/train/0000.png, images/val/…    made images, and good ones (good_0000.png)
    labels/train/0000.txt, labels/val/…    a line for each connected part: class x1 y1 x2 y2 …, in [0, 1]; empty if good

The corners of a polygon are the centres of the part's outermost pixels, so that ultralytics, which cuts coordinates to
whole pixels and fills the polygon with its edge, marks the part's own pixels again. A polygon has no holes: they are
filled. The loader wants a validation set; it is the second of each five images of a type, and of the good ones.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import yaml
from numpy.typing import NDArray

from goodshot.components.data.images import encode_png
from goodshot.components.data.sample import GOOD
from goodshot.components.defects.images import DefectImages
from goodshot.components.defects.layouts.layout import RGB, Layout, Mask, kinds, parts, put

OF = 5
"""One in this many images is for validation."""
_COMMENT = """\
# Images made by goodshot. Those in images/val are made too: they say how well made defects are found, not how well real
# ones are. Name real photographs as val to measure that. Paths are relative to this file.
"""
_ALMOST = 0.999


@dataclass(frozen=True)
class Yolo(Layout):
    """Polygons in text files."""

    name: ClassVar[str] = "yolo"
    read_by: ClassVar[str] = "ultralytics"

    def write(self, made: DefectImages, goods: RGB, object_name: str, folder: Path) -> None:
        """See `Layout.write`."""
        classes = {kind: i for i, kind in enumerate(kinds(made))}
        seen = Counter[str]()
        for i, (image, mask, kind) in enumerate(zip(made.images, made.masks, made.types, strict=True)):
            self._put(folder, f"{i:04d}", image, _labels(classes[kind], mask), kind, seen)
        for i, good in enumerate(goods):
            self._put(folder, f"{GOOD}_{i:04d}", good, "", GOOD, seen)
        # Without `path`, ultralytics takes the folder of this file; a relative one would be below its own data folder.
        has_val = (folder / "images" / "val").is_dir()
        content = {"train": "images/train", "val": "images/val" if has_val else "images/train"}
        names = {"names": {i: kind for kind, i in classes.items()}}
        put(folder / "data.yaml", _COMMENT + yaml.safe_dump({**content, **names}, sort_keys=False, allow_unicode=True))

    def _put(self, folder: Path, stem: str, image: RGB, labels: str, kind: str, seen: Counter[str]) -> None:
        split = "val" if seen[kind] % OF == 1 else "train"
        seen[kind] += 1
        put(folder / "images" / split / f"{stem}.png", encode_png(image))
        put(folder / "labels" / split / f"{stem}.txt", labels)


def _labels(number: int, mask: Mask) -> str:
    height, width = mask.shape
    lines = []
    for part in parts(mask):
        corners = (polygon(part) / [width, height]).ravel()
        lines.append(" ".join([str(number), *(f"{value:.6f}" for value in corners)]) + "\n")
    return "".join(lines)


def polygon(part: Mask) -> NDArray[np.float64]:
    """Returns the outline (P ≥ 3, 2) of a connected part, bool (H, W), as (x, y) in pixels; its holes are filled.

    The corners are the centres of its outermost pixels, where the pixel at the top left has its centre at (0.5, 0.5).
    """
    from skimage.measure import approximate_polygon, find_contours

    # Just below a pixel's own value, the contour runs through the centres of the marked pixels at the edge.
    outlines = find_contours(np.pad(part, 1).astype(float), _ALMOST, fully_connected="high")
    outline = max(outlines, key=lambda each: float(np.ptp(each[:, 0])) + float(np.ptp(each[:, 1])))
    corners = approximate_polygon(np.rint(outline) - 1, tolerance=0)[:-1, ::-1]
    if len(corners) > 2:
        return np.asarray(corners + 0.5)
    # A single pixel or a straight line has no three corners: they are points within the pixels at its ends.
    first, last = corners[0], corners[-1]
    within = np.array([[0.25, 0.25], [0.75, 0.5], [0.25, 0.75]])
    return np.asarray(np.stack([first, last, first]) + within)
