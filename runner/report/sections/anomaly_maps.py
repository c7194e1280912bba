"""Anomaly maps: what each variant's detector makes of the same test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from runner.arms import baselines
from runner.report.context import StudyContext
from runner.report.drawing import OUTLINE, PICTURES, bare, outline, webp
from runner.report.sections.base import Section
from runner.report.templates import render
from runner.results.comparison import subject_of, variant_label
from runner.results.record import CellRecord


@dataclass(frozen=True)
class MapPanel:
    """One category's and detector's test images uint8 (n, S, S, 3), masks bool (n, S, S), and maps alike by variant."""

    category: str
    subject: str
    image_ids: tuple[str, ...]
    images: np.ndarray
    masks: np.ndarray
    maps: Mapping[str, np.ndarray]

    @property
    def limits(self) -> tuple[float, float]:
        """The colour scale that all maps share: from their 1st percentile to their maximum."""
        stacked = np.stack(list(self.maps.values()))
        return float(np.percentile(stacked, 1)), float(stacked.max())

    @property
    def baseline(self) -> str:
        """The first baseline, if its maps are there."""
        first = baselines()[0].label
        return first if first in self.maps else ""

    @property
    def changes(self) -> str:
        """How far the others' maps are from the baseline's on average: adding images that change nothing shows."""
        if not self.baseline:
            return ""
        changes = {name: float(np.abs(maps - self.maps[self.baseline]).mean()) for name, maps in self.maps.items()}
        return ", ".join(f"{name} {change:.2g}" for name, change in changes.items() if name != self.baseline)


class AnomalyMaps(Section[list[MapPanel]]):
    """A figure for each category and detector."""

    def gather(self, study: StudyContext) -> list[MapPanel] | None:
        """Of cells that kept their maps; those that an earlier study shows are left out."""
        groups: dict[tuple[str, str], list[CellRecord]] = {}
        for cell in study.pictured:
            if cell.has_maps:
                groups.setdefault((cell.category, subject_of(study.row(cell))), []).append(cell)
        new = [(*key, own) for key, own in groups.items() if study.new(own, lambda cell: f"maps/{cell.fingerprint}")]
        return [panel for each in new if (panel := _panel(study, *each)) is not None] or None

    def html(self, study: StudyContext, shown: list[MapPanel]) -> str:
        """The figures, and how far the maps of one differ."""
        return render("sections/anomaly_maps.html.j2", panels=[(panel, _chart(panel)) for panel in shown])


def _panel(study: StudyContext, category: str, subject: str, cells: Sequence[CellRecord]) -> MapPanel | None:
    """One category's and detector's maps; a variant whose maps are gone is left out."""
    kept: dict[str, tuple[tuple[str, ...], dict[str, np.ndarray]]] = {}
    for cell in cells:
        label = variant_label(study.row(cell))
        read = study.read(f"anomaly maps of {category}, {label}", partial(_maps, study, cell))
        if read is not None:
            kept.setdefault(label, read)
    if not kept:
        return None
    ids, arrays = next(iter(kept.values()))
    maps = {label: own["maps"].astype(np.float32) for label, (_, own) in kept.items()}
    return MapPanel(category, subject, ids, arrays["images"], arrays["masks"], maps)


def _maps(study: StudyContext, cell: CellRecord) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    artifact = study.output.store.get(f"maps/{cell.fingerprint}")
    return tuple(artifact.info["image_ids"]), artifact.arrays("maps.safetensors")


def _chart(panel: MapPanel) -> str:
    """Photographs with the true outline, and below each its map by every variant, all on one scale."""
    n, rows = len(panel.images), 1 + len(panel.maps)
    low, high = panel.limits
    with mpl.rc_context(PICTURES):
        figure = Figure(figsize=(1.75 * n + 1.1, 1.75 * rows + 0.3), layout="constrained", dpi=100)
        axes = figure.subplots(rows, n, squeeze=False)
        for i in range(n):
            axes[0, i].imshow(panel.images[i])
            outline(axes[0, i], panel.masks[i], OUTLINE, 1.3)
            axes[0, i].set_title("/".join(panel.image_ids[i].split("/")[1:]), fontsize=9)
            for axis, maps in zip(axes[1:, i], panel.maps.values(), strict=True):
                drawn = axis.imshow(maps[i], cmap="viridis", vmin=low, vmax=high)
                outline(axis, panel.masks[i], "white", 0.8)
        for axis, name in zip(axes[:, 0], ["test image", *panel.maps], strict=True):
            axis.set_ylabel(name.replace(" ", "\n"), fontsize=10)
        bare(axes)
        figure.colorbar(drawn, ax=axes[1:, :], label="anomaly (raw distance)", shrink=0.95, aspect=30)
        return webp(figure)
