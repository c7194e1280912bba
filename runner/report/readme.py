"""The picture of the README: photographs, images generated from them, and a detected defect."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from goodshot.components.errors import BadInput
from goodshot.runner.report.context import StudyContext, read_studies
from goodshot.runner.report.pictures import coloured, outlined, photograph
from goodshot.runner.report.sections.anomaly_maps import MapPanel, map_panels
from goodshot.runner.report.sections.galleries import ImageSet, image_sets
from goodshot.runner.run.options import Options

SHOWN_IMAGES = 4
WIDTH, GAP, HEADING, LABEL = 1200, 6, 26, 26
"""The picture's width, the space between photographs, and the space for headings and categories, in pixels."""


def write_readme_figure(options: Options, path: Path) -> None:
    """Write :func:`readme_figure` to a file."""
    path.write_bytes(readme_figure(options))


def readme_figure(options: Options) -> bytes:
    """Return a PNG, 1200 px wide: per category an original, four images of the set, a defective test image, its map.

    Raises:
        BadInput: no study in ``--out`` has both generated images and anomaly maps.
    """
    for study in read_studies(options):
        if rows := _rows(study):
            return _picture(rows)
    raise BadInput(f"{options.out}: no study here has both generated images and anomaly maps")


def _rows(study: StudyContext) -> list[tuple[ImageSet, MapPanel]]:
    """Return each category's first image set from a training, with its anomaly maps, if these include a defect."""
    panels = {panel.category: panel for panel in map_panels(study)}
    galleries = {own.category: own for own in reversed(image_sets(study)) if own.arm.has_trace}
    pairs = [(galleries[category], panels[category]) for category in sorted(galleries.keys() & panels.keys())]
    return [(own, panel) for own, panel in pairs if own.label in panel.maps and panel.masks.any()]


def _picture(rows: Sequence[tuple[ImageSet, MapPanel]]) -> bytes:
    titles = ["photograph", *[rows[0][0].arm.images_are] * SHOWN_IMAGES, "defective", "anomaly map"]
    side = (WIDTH - LABEL) // len(titles) - GAP
    sheet = Image.new("RGB", (WIDTH, HEADING + len(rows) * (side + GAP)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for column, title in enumerate(titles):
        draw.text((_left(column, side) + side / 2, HEADING / 2), title, fill="black", font=font, anchor="mm")
    for line, (own, panel) in enumerate(rows):
        top = HEADING + line * (side + GAP)
        for column, picture in enumerate(_pictures(own, panel)):
            sheet.paste(picture.resize((side, side), Image.Resampling.BICUBIC), (_left(column, side), top))
        sheet.paste(_sideways(own.category, side), (0, top))
    return _small_png(sheet)


def _left(column: int, side: int) -> int:
    return LABEL + column * (side + GAP)


def _pictures(own: ImageSet, panel: MapPanel) -> list[Image.Image]:
    defect = int(np.flatnonzero(panel.masks.any(axis=(1, 2)))[0])
    mask, low_high = panel.masks[defect], panel.limits
    shown = [own.originals[0], *own.images[:SHOWN_IMAGES]]
    # A set may have fewer images than the picture has places for.
    empty = [Image.new("RGB", (1, 1), "white")] * (1 + SHOWN_IMAGES - len(shown))
    return [
        *map(photograph, shown),
        *empty,
        outlined(photograph(panel.images[defect]), mask),
        outlined(coloured(panel.maps[own.label][defect], *low_high), mask, "white"),
    ]


def _sideways(text: str, length: int) -> Image.Image:
    """A category's name that reads upward, in the middle of a strip ``LABEL`` pixels wide."""
    strip = Image.new("RGB", (length, LABEL), "white")
    middle = (length / 2, LABEL / 2)
    ImageDraw.Draw(strip).text(middle, text, fill="black", font=ImageFont.load_default(15), anchor="mm")
    return strip.rotate(90, expand=True)


def _small_png(image: Image.Image) -> bytes:
    """Return a PNG in 256 colours; with photographs it has a third of the size of a full-colour PNG.

    The palette also covers rare colours (an outline, the ends of a colormap); one chosen by frequency would shift hues.
    """
    small = io.BytesIO()
    # A ninth of the pixels has the same colours, and k-means is slow.
    sample = image.resize((image.width // 3, image.height // 3), Image.Resampling.NEAREST)
    palette = sample.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=8)
    image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(small, "png", optimize=True)
    return small.getvalue()
