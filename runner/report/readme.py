"""The picture of the README: photographs, images generated from them, and a detected defect."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from goodshot.components.errors import BadInput
from goodshot.runner.report.context import StudyContext, read_studies
from goodshot.runner.report.drawing import OUTLINE, PICTURES, bare, outline, small_png
from goodshot.runner.report.sections.anomaly_maps import AnomalyMaps, MapPanel
from goodshot.runner.report.sections.galleries import Galleries, Gallery
from goodshot.runner.run.options import Options

SHOWN_IMAGES = 4


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


def _rows(study: StudyContext) -> list[tuple[Gallery, MapPanel]]:
    """Return each category's first image set from a training, with its anomaly maps, if these include a defect."""
    panels = {panel.category: panel for panel in AnomalyMaps().gather(study) or ()}
    galleries = {g.category: g for g in reversed(Galleries().gather(study) or ()) if g.arm.has_trace}
    pairs = [(galleries[category], panels[category]) for category in sorted(galleries.keys() & panels.keys())]
    return [(gallery, panel) for gallery, panel in pairs if gallery.label in panel.maps and panel.masks.any()]


def _picture(rows: Sequence[tuple[Gallery, MapPanel]]) -> bytes:
    titles = ["photograph", *[rows[0][0].arm.images_are] * SHOWN_IMAGES, "defective", "anomaly map"]
    with mpl.rc_context(PICTURES):
        figure = Figure(figsize=(12, 1.72 * len(rows) + 0.32), layout="constrained", dpi=100)
        axes = figure.subplots(len(rows), len(titles), squeeze=False)
        for row_axes, (gallery, panel) in zip(axes, rows, strict=True):
            _draw_row(row_axes, gallery, panel)
        for axis, title in zip(axes[0], titles, strict=True):
            axis.set_title(title, fontsize=11)
        bare(axes)
        return small_png(figure)


def _draw_row(axes: np.ndarray, gallery: Gallery, panel: MapPanel) -> None:
    defect = int(np.flatnonzero(panel.masks.any(axis=(1, 2)))[0])
    low, high = panel.limits
    for axis, image in zip(axes, [gallery.originals[0], *gallery.images[:SHOWN_IMAGES]], strict=False):
        axis.imshow(image)
    axes[-2].imshow(panel.images[defect])
    outline(axes[-2], panel.masks[defect], OUTLINE, 1.3)
    axes[-1].imshow(panel.maps[gallery.label][defect], cmap="viridis", vmin=low, vmax=high)
    outline(axes[-1], panel.masks[defect], "white", 1.0)
    axes[0].set_ylabel(gallery.category, fontsize=11)
