"""Pictures of the report: photographs, masks as outlines and anomaly maps in colour, as small WebP data URIs."""

from __future__ import annotations

import base64
import io
from functools import cache

import numpy as np
from PIL import Image, ImageChops, ImageFilter

SIDE = 256
"""The longer side of a picture on the page, in pixels."""
LARGEST = 10_000
"""Maximum bytes of a picture, which gets the first of these qualities that keeps this limit, else the last one."""
QUALITIES = (85, 70, 50, 30)
OUTLINE = "#ff3b30"
EDGE = 2
"""The width of a mask's outline, in pixels of the picture."""
VIRIDIS = "44015448186a472d7b4240863b528b33638d2c728e26828e21918c1fa08828ae803fbc735ec96284d44baddc30d8e219fde725"
"""The colours of matplotlib's viridis at 17 evenly spaced values, from which the others are interpolated."""


def photograph(pixels: np.ndarray) -> Image.Image:
    """Return an image uint8 (H, W, 3), reduced to ``SIDE`` pixels but never enlarged."""
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return image


def coloured(values: np.ndarray, low: float, high: float) -> Image.Image:
    """Return an anomaly map float (S, S), ``SIDE`` pixels wide, in viridis colours that span ``low`` to ``high``."""
    smooth = Image.fromarray(np.nan_to_num(values.astype(np.float32), nan=low))
    resized = np.asarray(smooth.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    shares = np.clip((resized - low) / ((high - low) or 1.0), 0, 1)
    return Image.fromarray(_viridis()[(255 * shares).round().astype(np.uint8)])


@cache
def _viridis() -> np.ndarray:
    """256 colours, uint8 (256, 3)."""
    anchors = np.frombuffer(bytes.fromhex(VIRIDIS), np.uint8).reshape(-1, 3)
    at, known = np.linspace(0, 1, 256), np.linspace(0, 1, len(anchors))
    return np.stack([np.interp(at, known, anchors[:, c]) for c in range(3)], 1).round().astype(np.uint8)


def outlined(image: Image.Image, mask: np.ndarray, colour: str = OUTLINE) -> Image.Image:
    """Return a picture with the outline of a mask bool (H, W), unless that marks nothing or everything.

    A small picture is enlarged first, so that the outline hides none of it.
    """
    if not mask.any() or mask.all():
        return image
    scale = max(1.0, SIDE / max(image.size))
    marked = image.resize((round(scale * image.width), round(scale * image.height)), Image.Resampling.BILINEAR)
    marked.paste(colour, mask=edge(mask, marked.size))
    return marked


def edge(mask: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """The pixels around a mask bool (H, W) at another size, as an image of 0 and 255. A thin defect has an edge too."""
    shares = Image.fromarray(mask.astype(np.float32)).resize(size, Image.Resampling.BOX)
    touched = Image.fromarray((np.asarray(shares) > 0).astype(np.uint8) * 255)
    return ImageChops.subtract(touched.filter(ImageFilter.MaxFilter(2 * EDGE + 1)), touched)


def webp(image: Image.Image) -> str:
    """Return a picture as a WebP data URI, in the best quality that keeps it small."""
    for quality in QUALITIES:
        encoded = io.BytesIO()
        image.save(encoded, "WEBP", quality=quality)
        if encoded.tell() <= LARGEST:
            break
    return data_uri(encoded.getvalue(), "webp")


def data_uri(data: bytes, kind: str) -> str:
    """Return an image's bytes as a data URI; ``kind`` is the MIME subtype, such as ``png``."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
