"""Anomaly maps: the maps that the detectors of all variants compute for the same test images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from goodshot.runner.arms import originals_alone
from goodshot.runner.cells.base import pictures_key
from goodshot.runner.console.terminal import shortened
from goodshot.runner.report.blocks import Block, Gallery, Picture, Strip, Text, block_name
from goodshot.runner.report.context import StudyContext
from goodshot.runner.report.pictures import coloured, outlined, photograph, webp
from goodshot.runner.report.sections.base import Section
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

    @cached_property
    def limits(self) -> tuple[float, float]:
        """The range of the colour scale that all maps share: from their 1st percentile to their maximum."""
        stacked = np.stack(list(self.maps.values()))
        return float(np.percentile(stacked, 1)), float(stacked.max())

    @property
    def baseline(self) -> str:
        """The label of the first baseline; empty if the panel has no maps of it."""
        label = originals_alone().label
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


class AnomalyMaps(Section):
    """A gallery for each category and detector: the test images, and below each its map by every variant."""

    name = "anomaly_maps"
    title = "Anomaly maps"

    def blocks(self, study: StudyContext) -> Iterator[Block]:
        """Yield the galleries, each with the differences between its maps."""
        for i, panel in enumerate(map_panels(study)):
            if i == 0:
                yield Text(
                    "The first test image of each kind by name, good ones first; the true defect is outlined. All maps "
                    "of one category and detector share one colour scale, so arms can be compared; categories cannot.",
                    "note",
                )
            yield _gallery(panel)


def map_panels(study: StudyContext) -> list[MapPanel]:
    """Read the maps of cells that kept them; maps that the page already shows are left out."""
    groups: dict[tuple[str, str], list[CellRecord]] = {}
    for cell in study.cells_with_shown_images:
        if cell.has_maps:
            groups.setdefault((cell.category, subject_of(study.row(cell))), []).append(cell)
    unshown = [
        (category, subject, cells)
        for (category, subject), cells in groups.items()
        if study.not_yet_shown(cells, lambda cell: pictures_key(cell.fingerprint))
    ]
    panels = (_panel(study, category, subject, cells) for category, subject, cells in unshown)
    return [panel for panel in panels if panel is not None]


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
    artifact = study.output.store.get(pictures_key(cell.fingerprint))
    return tuple(artifact.info["image_ids"]), artifact.arrays("maps.safetensors")


def _gallery(panel: MapPanel) -> Gallery:
    low, high = panel.limits
    changes = f" Mean absolute difference from the maps of {panel.baseline}: {panel.changes}." if panel.changes else ""
    return Gallery(
        name=block_name("anomaly_maps", panel.category, panel.subject),
        title=f"{panel.category}, {panel.subject}",
        strips=[
            Strip("test image", [_test_image(panel, i) for i in range(len(panel.images))]),
            *(Strip(label, [_map(panel, label, i) for i in range(len(maps))]) for label, maps in panel.maps.items()),
        ],
        notes=[
            f"Anomaly maps by {', '.join(panel.maps)}: raw distance from {low:.3g} (dark, the 1st percentile) to "
            f"{high:.3g} (yellow, the maximum).{changes}"
        ],
    )


def _test_image(panel: MapPanel, i: int) -> Picture:
    name = _short(panel.image_ids[i])
    state = "with its defect outlined" if panel.masks[i].any() else "without a defect"
    picture = outlined(photograph(panel.images[i]), panel.masks[i])
    return Picture(webp(picture), shortened(name, 24), f"Test image {name} of {panel.category}, {state}")


def _map(panel: MapPanel, label: str, i: int) -> Picture:
    picture = outlined(coloured(panel.maps[label][i], *panel.limits), panel.masks[i], "white")
    name = _short(panel.image_ids[i])
    return Picture(webp(picture), "", f"Anomaly map of test image {name} of {panel.category} by {label}")


def _short(image_id: str) -> str:
    return "/".join(image_id.split("/")[1:])
