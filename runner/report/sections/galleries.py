"""Photographs next to the images that an arm adds to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from goodshot.components.data.images import encode_png
from goodshot.components.data.shards import SUFFIX, decode_originals, read_split
from goodshot.runner.arms import Arm
from goodshot.runner.report.context import StudyContext, support_label
from goodshot.runner.report.drawing import data_uri
from goodshot.runner.report.sections.base import Section
from goodshot.runner.report.templates import render
from goodshot.runner.results.comparison import Row, variant_label
from goodshot.runner.results.record import CellRecord

SHOWN_ORIGINALS = 4
SHOWN_IMAGES = 8
SHOWN_SIDE = 192


@dataclass(frozen=True)
class Gallery:
    """The first originals of a support, uint8 (H, W, 3) each, and the first images of a set, uint8 (M, R, R, 3)."""

    category: str
    support: str
    label: str
    arm: Arm
    row: Row
    originals: Sequence[np.ndarray]
    images: np.ndarray


class Galleries(Section[list[Gallery]]):
    """A strip of pictures for each image set of the supports whose images are shown."""

    def gather(self, study: StudyContext) -> list[Gallery] | None:
        """Read the image sets that the page does not show yet."""
        with_set = [cell for cell in study.cells_with_shown_images if cell.image_set]
        cells = study.not_yet_shown(with_set, lambda cell: cell.image_set)
        return study.read_each("gallery", cells, lambda cell: _gallery(study, cell)) or None

    def html(self, study: StudyContext, shown: list[Gallery]) -> str:
        """Render the strips, with pictures reduced in size."""
        pictures = [([*map(_picture, gallery.originals)], [*map(_picture, gallery.images)]) for gallery in shown]
        return render("sections/galleries.html.j2", study=study, galleries=list(zip(shown, pictures, strict=True)))


def _gallery(study: StudyContext, cell: CellRecord) -> Gallery:
    store, row = study.output.store, study.row(cell)
    images = store.get(str(cell.image_set)).arrays("images.safetensors")["images"][:SHOWN_IMAGES]
    shard, ids = store.get(cell.shard), cell.support_ids[:SHOWN_ORIGINALS]
    path = shard.path(f"train{SUFFIX}")
    table = read_split(path, columns=["image"], image_ids=ids, filesystem=shard.filesystem)
    originals = tuple(decode_originals(table))
    label = variant_label(row)
    return Gallery(cell.category, support_label(row), label, study.arm(cell), row, originals, images)


def _picture(image: np.ndarray) -> str:
    """Return an image uint8 (H, W, 3) as a PNG data URI, reduced to ``SHOWN_SIDE`` pixels but never enlarged."""
    shown = Image.fromarray(image)
    shown.thumbnail((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.LANCZOS)
    return data_uri(encode_png(np.asarray(shown)), "png")
