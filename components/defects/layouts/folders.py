"""Folders as in MVTec AD, for anomalib's ``Folder`` and ``MVTecAD`` and everything else that reads that dataset.

    <object>/train/good/0000.png
    <object>/test/<type>/0000.png            made images
    <object>/ground_truth/<type>/0000_mask.png
    <object>/prompt/<type>/0000.txt          their captions, as in MVTec Caption

The layout calls the folder of defective images ``test``. Made images are not a test set: a result on them says how well
they are recognised, not how well real defects are.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from goodshot.components.data.images import encode_png
from goodshot.components.data.sample import GOOD
from goodshot.components.defects.images import DefectImages
from goodshot.components.defects.layouts.layout import RGB, Layout, folder_name, put


@dataclass(frozen=True)
class Folders(Layout):
    """MVTec AD's folders. The images of each type are numbered separately, as in MVTec AD."""

    name: ClassVar[str] = "folder"
    read_by: ClassVar[str] = "anomalib (Folder, MVTecAD)"

    def write(self, made: DefectImages, goods: RGB, object_name: str, folder: Path) -> None:
        """See `Layout.write`."""
        root, numbers = folder / folder_name(object_name), Counter[str]()
        for i, good in enumerate(goods):
            put(root / "train" / GOOD / f"{i:04d}.png", encode_png(good))
        for image, mask, kind, caption in zip(made.images, made.masks, made.types, made.captions, strict=True):
            stem = f"{numbers[kind]:04d}"
            put(root / "test" / kind / f"{stem}.png", encode_png(image))
            put(root / "ground_truth" / kind / f"{stem}_mask.png", encode_png(mask))
            put(root / "prompt" / kind / f"{stem}.txt", caption + "\n")
            numbers[kind] += 1
