"""Photographs next to the images that an arm adds to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from goodshot.components.data.shards import SUFFIX, decode_originals, read_split
from goodshot.runner.arms import Arm
from goodshot.runner.report import blocks
from goodshot.runner.report.blocks import Block, Picture, Strip, block_name
from goodshot.runner.report.context import StudyContext, support_label
from goodshot.runner.report.pictures import photograph, webp
from goodshot.runner.report.sections.base import Section
from goodshot.runner.results.comparison import Row, variant_label
from goodshot.runner.results.record import CellRecord

SHOWN_ORIGINALS = 4
SHOWN_IMAGES = 8


@dataclass(frozen=True)
class ImageSet:
    """The first originals of a support, uint8 (H, W, 3) each, and the first images of a set, uint8 (M, R, R, 3)."""

    category: str
    support: str
    label: str
    arm: Arm
    row: Row
    originals: Sequence[np.ndarray]
    images: np.ndarray


class Galleries(Section):
    """The photographs and the added images, for each image set of the supports whose images are shown."""

    name = "galleries"
    title = "The photograph and the images added to it"

    def blocks(self, study: StudyContext) -> Iterator[Block]:
        """Yield a gallery for each image set that the page does not show yet."""
        for image_set in image_sets(study):
            yield _gallery(image_set)


def image_sets(study: StudyContext) -> list[ImageSet]:
    """Read the image sets that the page does not show yet."""
    with_set = [cell for cell in study.cells_with_shown_images if cell.image_set]
    cells = study.not_yet_shown(with_set, lambda cell: cell.image_set)
    return study.read_each("gallery", cells, lambda cell: _image_set(study, cell))


def _image_set(study: StudyContext, cell: CellRecord) -> ImageSet:
    store, row = study.output.store, study.row(cell)
    images = store.get(str(cell.image_set)).arrays("images.safetensors")["images"][:SHOWN_IMAGES]
    shard, ids = store.get(cell.shard), cell.support_ids[:SHOWN_ORIGINALS]
    path = shard.path(f"train{SUFFIX}")
    table = read_split(path, columns=["image"], image_ids=ids, filesystem=shard.filesystem)
    originals = tuple(decode_originals(table))
    return ImageSet(cell.category, support_label(row), variant_label(row), study.arm(cell), row, originals, images)


def _gallery(own: ImageSet) -> blocks.Gallery:
    kind, several = own.arm.images_are, len(own.originals) > 1
    caption = f"{len(own.images)} of {own.row['copies']} {own.arm.caption(own.row)}"
    return blocks.Gallery(
        name=block_name("gallery", own.category, own.support, own.label),
        title=f"{own.category}, {own.support}, {own.label}",
        strips=[
            Strip(
                "photographs" if several else "photograph",
                [_picture(o, f"Original photograph {i} of {own.category}") for i, o in enumerate(own.originals, 1)],
            ),
            Strip(
                kind,
                [_picture(o, f"{kind.capitalize()} image {i} of {own.category}") for i, o in enumerate(own.images, 1)],
                caption,
            ),
        ],
    )


def _picture(pixels: np.ndarray, description: str) -> Picture:
    return Picture(webp(photograph(pixels)), "", description)
