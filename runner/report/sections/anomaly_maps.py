"""Anomaly maps: the maps that the detectors of all variants compute for the same test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from goodshot.runner.arms import baselines
from goodshot.runner.console.terminal import shortened
from goodshot.runner.report.context import StudyContext
from goodshot.runner.report.drawing import OUTLINE, PICTURES, bare, outline, webp
from goodshot.runner.report.sections.base import Section
from goodshot.runner.report.templates import render
from goodshot.runner.results.comparison import subject_of, variant_label
from goodshot.runner.results.record import CellRecord


@dataclass(frozen=True)
class MapPanel:
    """The anomaly maps of one category and detector.

    images: test images, uint8 (n, S, S, 3). masks: their true defects, bool (n, S, S).
    maps: variant → anomaly maps, float32 (n, S, S), raw distances.
    """

    category: str
    subject: str
    image_ids: tuple[str, ...]
    images: np.ndarray
    masks: np.ndarray
    maps: Mapping[str, np.ndarray]

    @property
    def limits(self) -> tuple[float, float]:
        """The range of the colour scale that all maps share: from their 1st percentile to their maximum."""
        stacked = np.stack(list(self.maps.values()))
        return float(np.percentile(stacked, 1)), float(stacked.max())

    @property
    def baseline(self) -> str:
        """The label of the first baseline; empty if the panel has no maps of it."""
        label = baselines()[0].label
        return label if label in self.maps else ""

    @property
    def changes(self) -> str:
        """The mean absolute difference of each variant's maps from the baseline's, as text; empty without baseline.

        A difference near 0 shows that the added images changed nothing.
        """
        if not self.baseline:
            return ""
        changes = {name: float(np.abs(maps - self.maps[self.baseline]).mean()) for name, maps in self.maps.items()}
        return ", ".join(f"{name} {change:.2g}" for name, change in changes.items() if name != self.baseline)


class AnomalyMaps(Section[list[MapPanel]]):
    """A figure for each category and detector."""

    def gather(self, study: StudyContext) -> list[MapPanel] | None:
        """Read the maps of cells that kept them; maps that the page already shows are left out."""
        groups: dict[tuple[str, str], list[CellRecord]] = {}
        for cell in study.cells_with_shown_images:
            if cell.has_maps:
                groups.setdefault((cell.category, subject_of(study.row(cell))), []).append(cell)
        unshown = [
            (category, subject, cells)
            for (category, subject), cells in groups.items()
            if study.not_yet_shown(cells, lambda cell: f"maps/{cell.fingerprint}")
        ]
        panels = (_panel(study, category, subject, cells) for category, subject, cells in unshown)
        return [panel for panel in panels if panel is not None] or None

    def html(self, study: StudyContext, shown: list[MapPanel]) -> str:
        """Render the figures, each with the differences between its maps."""
        return render("sections/anomaly_maps.html.j2", panels=[(panel, _chart(panel)) for panel in shown])


def _panel(study: StudyContext, category: str, subject: str, cells: Sequence[CellRecord]) -> MapPanel | None:
    """Read the maps of one category and detector; a variant whose maps cannot be read is left out."""
    by_variant: dict[str, tuple[tuple[str, ...], dict[str, np.ndarray]]] = {}
    for cell in cells:
        label = variant_label(study.row(cell))
        stored = study.read(f"anomaly maps of {category}, {label}", partial(_stored_maps, study, cell))
        if stored is not None:
            by_variant.setdefault(label, stored)
    if not by_variant:
        return None
    ids, first = next(iter(by_variant.values()))
    maps = {label: arrays["maps"].astype(np.float32) for label, (_, arrays) in by_variant.items()}
    return MapPanel(category, subject, ids, first["images"], first["masks"], maps)


def _stored_maps(study: StudyContext, cell: CellRecord) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Return the image ids and the arrays ``images``, ``masks`` and ``maps`` of a cell's artifact."""
    artifact = study.output.store.get(f"maps/{cell.fingerprint}")
    return tuple(artifact.info["image_ids"]), artifact.arrays("maps.safetensors")


def _chart(panel: MapPanel) -> str:
    """Draw the test images with their true defects outlined, and below each its map by every variant on one scale."""
    n, rows = len(panel.images), 1 + len(panel.maps)
    low, high = panel.limits
    with mpl.rc_context(PICTURES):
        figure = Figure(figsize=(1.75 * n + 1.1, 1.75 * rows + 0.3), layout="constrained", dpi=100)
        axes = figure.subplots(rows, n, squeeze=False)
        for i in range(n):
            axes[0, i].imshow(panel.images[i])
            outline(axes[0, i], panel.masks[i], OUTLINE, 1.3)
            name = "/".join(panel.image_ids[i].split("/")[1:])
            axes[0, i].set_title(shortened(name, 24), fontsize=9)
            for axis, maps in zip(axes[1:, i], panel.maps.values(), strict=True):
                drawn = axis.imshow(maps[i], cmap="viridis", vmin=low, vmax=high)
                outline(axis, panel.masks[i], "white", 0.8)
        for axis, name in zip(axes[:, 0], ["test image", *panel.maps], strict=True):
            axis.set_ylabel(name.replace(" ", "\n"), fontsize=10)
        bare(axes)
        figure.colorbar(drawn, ax=axes[1:, :], label="anomaly (raw distance)", shrink=0.95, aspect=30)
        return webp(figure)
