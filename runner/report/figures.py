"""Pictures of the report as data URIs: photographs, generated images, anomaly maps, and the README's picture."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from components.data.images import encode_png
from components.errors import BadInput
from runner.report.drawing import RC, data_uri, small_png, webp
from runner.report.gather import gather
from runner.report.page import Gallery, MapPanel
from runner.run.options import Options

SHOWN_SIDE = 192
OUTLINE = "#ff3b30"
README_IMAGES = 4
PLAIN = {
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


def picture(image: np.ndarray) -> str:
    """An image uint8 (H, W, 3) as a PNG data URI, reduced to what a page can show; never enlarged."""
    shown = Image.fromarray(image)
    shown.thumbnail((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.LANCZOS)
    return data_uri(encode_png(np.asarray(shown)), "png")


def map_range(panel: MapPanel) -> tuple[float, float]:
    """The colour scale that all maps of a panel share: from their 1st percentile to their maximum."""
    stacked = np.stack(list(panel.maps.values()))
    return float(np.percentile(stacked, 1)), float(stacked.max())


def map_changes(panel: MapPanel) -> str:
    """How far each variant's maps are from those of ``original`` on average: adding images that change nothing shows.

    Empty without the baseline's maps.
    """
    if "original" not in panel.maps:
        return ""
    changes = {name: float(np.abs(maps - panel.maps["original"]).mean()) for name, maps in panel.maps.items()}
    return ", ".join(f"{name} {change:.2g}" for name, change in changes.items() if name != "original")


def anomaly_maps(panel: MapPanel) -> str:
    """Photographs with the true outline, and below each its map by every variant, all on one scale."""
    n, rows = len(panel.images), 1 + len(panel.maps)
    low, high = map_range(panel)
    with mpl.rc_context(PLAIN):
        figure = Figure(figsize=(1.75 * n + 1.1, 1.75 * rows + 0.3), layout="constrained", dpi=100)
        axes = figure.subplots(rows, n, squeeze=False)
        for i in range(n):
            _show(axes[0, i], panel.images[i], panel.masks[i], OUTLINE)
            axes[0, i].set_title("/".join(panel.image_ids[i].split("/")[1:]), fontsize=9)
            for axis, maps in zip(axes[1:, i], panel.maps.values(), strict=True):
                drawn = axis.imshow(maps[i], cmap="viridis", vmin=low, vmax=high)
                _outline(axis, panel.masks[i], "white", 0.8)
        for axis, name in zip(axes[:, 0], ["test image", *panel.maps], strict=True):
            axis.set_ylabel(name.replace(" ", "\n"), fontsize=10)
        _bare(axes)
        figure.colorbar(drawn, ax=axes[1:, :], label="anomaly (raw distance)", shrink=0.95, aspect=30)
        return webp(figure)


def readme_figure(options: Options) -> bytes:
    """PNG, 1200 px wide: per category the original, four chosen images, a defective test image and its map.

    Raises:
        BadInput: no study in ``--out`` has both generated images and anomaly maps.
    """
    for view in gather(options.out, options.store_uri).studies:
        panels = {panel.category: panel for panel in view.panels}
        first = {g.category: g for g in reversed(view.galleries) if g.row["arm"] == "generated"}
        rows = [
            (first[c], panels[c])
            for c in sorted(first.keys() & panels.keys())
            if first[c].label in panels[c].maps and panels[c].masks.any()
        ]
        if rows:
            return _readme_picture(rows)
    raise BadInput(f"{options.out}: no study here has both generated images and anomaly maps")


def _readme_picture(rows: Sequence[tuple[Gallery, MapPanel]]) -> bytes:
    titles = ["photograph", *["generated"] * README_IMAGES, "defective", "anomaly map"]
    with mpl.rc_context(PLAIN):
        figure = Figure(figsize=(12, 1.72 * len(rows) + 0.32), layout="constrained", dpi=100)
        axes = figure.subplots(len(rows), len(titles), squeeze=False)
        for line, (gallery, panel) in zip(axes, rows, strict=True):
            _readme_row(line, gallery, panel)
        for axis, title in zip(axes[0], titles, strict=True):
            axis.set_title(title, fontsize=11)
        _bare(axes)
        return small_png(figure)


def _readme_row(axes: np.ndarray, gallery: Gallery, panel: MapPanel) -> None:
    defect = int(np.flatnonzero(panel.masks.any(axis=(1, 2)))[0])
    low, high = map_range(panel)
    for axis, image in zip(axes, [gallery.originals[0], *gallery.images[:README_IMAGES]], strict=False):
        axis.imshow(image)
    _show(axes[-2], panel.images[defect], panel.masks[defect], OUTLINE)
    axes[-1].imshow(panel.maps[gallery.label][defect], cmap="viridis", vmin=low, vmax=high)
    _outline(axes[-1], panel.masks[defect], "white", 1.0)
    axes[0].set_ylabel(gallery.category, fontsize=11)


def _show(axis: Axes, image: np.ndarray, mask: np.ndarray, colour: str) -> None:
    axis.imshow(image)
    _outline(axis, mask, colour, 1.3)


def _outline(axis: Axes, mask: np.ndarray, colour: str, width: float) -> None:
    if mask.any() and not mask.all():
        axis.contour(mask, levels=[0.5], colors=colour, linewidths=width)


def _bare(axes: np.ndarray) -> None:
    """Pictures have no axes."""
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
