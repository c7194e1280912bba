"""A contact sheet: labelled rows of photographs, training views and generated images, as one PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GAP, LABEL_HEIGHT, SIDE = 4, 18, 128
BACKGROUND, INK = (255, 255, 255), (40, 40, 40)


def contact_sheet(rows: Sequence[tuple[str, Sequence[np.ndarray]]], side: int = SIDE) -> bytes:
    """Draw the rows, each below its label, and return the sheet as PNG bytes.

    Args:
        rows: (label, images uint8 (H, W, 3)); a row with an empty label continues the row above it.
        side: the side of each image on the sheet, in pixels.
    """
    columns = max((len(images) for _, images in rows), default=1)
    heights = [side + GAP + (LABEL_HEIGHT if label else 0) for label, _ in rows]
    sheet = Image.new("RGB", (columns * (side + GAP) + GAP, sum(heights) + GAP), BACKGROUND)
    draw, font, top = ImageDraw.Draw(sheet), ImageFont.load_default(12), GAP
    for (label, images), height in zip(rows, heights, strict=True):
        if label:
            draw.text((GAP, top), label, fill=INK, font=font)
        y = top + height - side - GAP
        for column, image in enumerate(images):
            resized = Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS)
            sheet.paste(resized, (GAP + column * (side + GAP), y))
        top += height
    data = io.BytesIO()
    sheet.save(data, "PNG")
    return data.getvalue()
