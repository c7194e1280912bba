"""Photographs next to the images that each arm adds to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from goodshot.runner.arms import Arm
from goodshot.runner.report.blocks import Block, Gallery, Picture, Strip, block_name
from goodshot.runner.report.context import StudyContext, support_label
from goodshot.runner.report.pictures import photograph, webp
from goodshot.runner.report.sections.base import Section
from goodshot.runner.results.comparison import Row, variant_label
from goodshot.runner.results.pictures import added_images, original_images
from goodshot.runner.results.record import CellRecord

SHOWN_ORIGINALS = 4
SHOWN_IMAGES = 8


@dataclass(frozen=True)
class ImageSet:
    """The first originals of a support, uint8 (H, W, 3) each, and the first added images, uint8 (M, R, R, 3)."""

    category: str
    support: str
    label: str
    arm: Arm
    row: Row
    originals: Sequence[np.ndarray]
    images: np.ndarray


class Galleries(Section):
    """For each category the photographs and what the arms add, of the supports whose images are shown."""

    name = "galleries"
    title = "The photograph and the images added to it"

    def blocks(self, study: StudyContext) -> Iterator[Block]:
        """Yield a gallery for each support, with the added images that the page does not show yet."""
        groups: dict[tuple[str, str], list[ImageSet]] = {}
        for own in [*made_in_cells(study), *image_sets(study)]:
            groups.setdefault((own.category, own.support), []).append(own)
        for (category, support), added in groups.items():
            yield Gallery(
                name=block_name("gallery", category, support),
                title=f"{category}, {support}",
                strips=[_photographs(added[0]), *map(_added, added)],
            )


def image_sets(study: StudyContext) -> list[ImageSet]:
    """Read the image sets that the page does not show yet."""
    with_set = [c for c in study.cells_with_shown_images if c.image_set and study.arm(c).makes == "normal"]
    cells = study.not_yet_shown(with_set, lambda cell: cell.image_set)
    return study.read_each("gallery", cells, lambda cell: _image_set(study, cell))


def made_in_cells(study: StudyContext) -> list[ImageSet]:
    """Read the images that cells made themselves, such as augmented ones, which they keep with their anomaly maps.

    With several detectors, the first one's images are used, because the others differ only in size. Cells of earlier
    versions kept no images.
    """
    made = [c for c in study.cells_with_shown_images if c.has_maps and not c.image_set and study.row(c)["copies"]]
    cells = study.not_yet_shown(made, lambda cell: _identity(study, cell))
    return [own for own in study.read_each("gallery", cells, lambda cell: _image_set(study, cell)) if own.images.size]


def _identity(study: StudyContext, cell: CellRecord) -> str:
    row = study.row(cell)
    return f"added/{cell.shard}/{cell.support_ids}/{cell.seed}/{variant_label(row)}/{row['copies']}"


def _image_set(study: StudyContext, cell: CellRecord) -> ImageSet:
    """Read the originals of a cell, beside the images that were added to them, of which there may be none."""
    row, images = study.row(cell), added_images(study.output.store, cell)
    shown = np.empty(0, np.uint8) if images is None else images[:SHOWN_IMAGES]
    originals = [] if images is None else original_images(study.output.store, cell, SHOWN_ORIGINALS)
    return ImageSet(cell.category, support_label(row), variant_label(row), study.arm(cell), row, originals, shown)


def _photographs(own: ImageSet) -> Strip:
    pictures = [_picture(o, f"Original photograph {i} of {own.category}") for i, o in enumerate(own.originals, 1)]
    return Strip("photograph" if len(pictures) == 1 else "photographs", pictures)


def _added(own: ImageSet) -> Strip:
    kind = own.arm.images_are
    pictures = [_picture(o, f"{kind.capitalize()} image {i} of {own.category}") for i, o in enumerate(own.images, 1)]
    return Strip(own.label, pictures, f"{len(pictures)} of {own.row['copies']} {own.arm.caption(own.row)}")


def _picture(pixels: np.ndarray, description: str) -> Picture:
    return Picture(webp(photograph(pixels)), "", description)
