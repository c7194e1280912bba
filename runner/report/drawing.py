"""The style of the report's figures, and their conversion to data URIs."""

from __future__ import annotations

import base64
import io
import warnings
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

# The Okabe-Ito palette: its colours are distinguishable with any colour vision.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
SKY, VERMILLION, BLACK = "#56B4E9", "#D55E00", "#000000"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, BLACK)
GREY = "#9a9a9a"
RC: dict[str, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "goodshot",
    # Names of folders and files may hold dollar signs.
    "text.parse_math": False,
}
PICTURES: dict[str, Any] = {
    **RC,
    "axes.grid": False,
    "axes.titleweight": "normal",
    "axes.titlelocation": "center",
    "image.interpolation": "bilinear",
    "figure.constrained_layout.w_pad": 0.03,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.wspace": 0.0,
    "figure.constrained_layout.hspace": 0.0,
}
"""The matplotlib settings of figures that contain photographs."""
OUTLINE = "#ff3b30"


def series(count: int) -> list[Any]:
    """Return a colour for each of ``count`` lines; more lines than named colours get a continuous colormap."""
    if count <= len(SERIES):
        return list(SERIES[:count])
    return [mpl.colormaps["viridis"](i / (count - 1)) for i in range(count)]


def outline(axis: Axes, mask: np.ndarray, colour: str, width: float) -> None:
    """Draw the edge of a mask bool (S, S), unless it is empty or covers the whole image."""
    if mask.any() and not mask.all():
        axis.contour(mask, levels=[0.5], colors=colour, linewidths=width)


def bare(axes: np.ndarray) -> None:
    """Remove ticks and frames around pictures."""
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)


def svg(figure: Figure) -> str:
    """Return the figure as an SVG data URI; equal figures have equal bytes."""
    return data_uri(_saved(figure, format="svg", metadata={"Date": None, "Creator": None}), "svg+xml")


def webp(figure: Figure) -> str:
    """Return the figure as a WebP data URI; with photographs it has a fifth of the size of a PNG."""
    return data_uri(_saved(figure, format="webp", pil_kwargs={"quality": 88}), "webp")


def small_png(figure: Figure) -> bytes:
    """Return the figure as PNG in 256 colours; with photographs it has a third of the size of a full-colour PNG.

    The palette also covers rare colours (an outline, the ends of a colormap); one chosen by frequency would shift hues.
    """
    small = io.BytesIO()
    image = Image.open(io.BytesIO(_saved(figure, format="png"))).convert("RGB")
    # A ninth of the pixels has the same colours, and k-means is slow.
    sample = image.resize((image.width // 3, image.height // 3), Image.Resampling.NEAREST)
    palette = sample.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=8)
    image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(small, "png", optimize=True)
    return small.getvalue()


def _saved(figure: Figure, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # Letters that the font lacks are boxes in figures; the page has the names beside them.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(buffer, **options)
    return buffer.getvalue()


def data_uri(data: bytes, kind: str) -> str:
    """Return an image's bytes as a data URI; ``kind`` is the MIME subtype, such as ``png``."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
