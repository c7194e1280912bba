"""Made defects: the good image with the place of the defect, the result of each arm, and the size of its model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from goodshot.runner.report.blocks import Block, Column, Gallery, Picture, Strip, Table, block_name
from goodshot.runner.report.context import StudyContext, support_label
from goodshot.runner.report.pictures import outlined, photograph, webp
from goodshot.runner.report.sections.base import Section
from goodshot.runner.report.values import number_value
from goodshot.runner.results.comparison import variant_label
from goodshot.runner.results.record import CellRecord
from goodshot.runner.stages.defect_set import ShownDefects, read_shown

PARTS = {
    "semantic": "caption (eq. 1)",
    "location": "mask (eq. 2)",
    "textural": "image (eq. 3)",
    "aggregator": "in-fusion (eq. 4, 5)",
    "dynamic": "dynamic fusion (eq. 14)",
    "base": "base",
}
"""The parts of a fusion and what they embed or do."""


@dataclass(frozen=True)
class MadeDefects:
    """The images that one arm has made of one support."""

    category: str
    support: str
    label: str
    about: str
    shown: ShownDefects


class MadeDefectGalleries(Section):
    """For each category the first made defects of each arm, with their sites and captions (Fig. 4 and 5)."""

    name = "made_defects"
    title = "Made defects"

    def blocks(self, study: StudyContext) -> Iterator[Block]:
        """Yield a gallery for each support, with arms of equal sites side by side, and the sizes of the models."""
        groups: dict[tuple[str, str], list[MadeDefects]] = {}
        everything = made_defects(study)
        for made in everything:
            groups.setdefault((made.category, made.support), []).append(made)
        for (category, support), own in groups.items():
            yield Gallery(
                name=block_name("made_defects", category, support),
                title=f"{category}, {support}",
                strips=list(_strips(own)),
                notes=[
                    "The outline is where the defect is to be. Outside it, an image is the good one, pixel by pixel."
                ],
            )
        yield from _parameters(everything)


def _parameters(everything: Sequence[MadeDefects]) -> Iterator[Table]:
    """Yield the table of weights: a line for each category and arm whose images a model made."""
    sizes = {(made.category, made.label): made.shown.parameters for made in everything if made.shown.parameters}
    if not sizes:
        return
    yield Table(
        name="fusion_parameters",
        title="Weights of the fusion",
        columns=[
            Column("category", "category"), Column("trained_on", "images of"),
            *(Column(part, title) for part, title in PARTS.items()),
        ],
        lines=[
            [category, label, *(number_value(n := parameters[part], f"{n:,}") for part in PARTS)]
            for (category, label), parameters in sizes.items()
        ],
        notes=["A part that is switched off has no weights."],
    )  # fmt: skip


def made_defects(study: StudyContext) -> list[MadeDefects]:
    """Read the first images of the defect sets that the page does not show yet."""
    with_set = [c for c in study.cells_with_shown_images if c.image_set and study.arm(c).makes == "defective"]
    cells = study.not_yet_shown(with_set, lambda cell: cell.image_set)
    return study.read_each("made defects", cells, lambda cell: _read(study, cell))


def _read(study: StudyContext, cell: CellRecord) -> MadeDefects:
    row = study.row(cell)
    shown = read_shown(study.output.store, str(cell.image_set))
    return MadeDefects(cell.category, support_label(row), variant_label(row), study.arm(cell).caption(row), shown)


def _strips(own: list[MadeDefects]) -> Iterator[Strip]:
    before: np.ndarray | None = None
    sites = [made.shown.masks.tobytes() for made in own]
    for _, made in sorted(zip(sites, own, strict=True), key=lambda pair: sites.index(pair[0])):
        shown = made.shown
        if before is None or not np.array_equal(before, shown.masks):
            pictures = [
                Picture(
                    webp(outlined(photograph(good), mask)), kind, f"Good {made.category} with the place of a {kind}"
                )
                for good, mask, kind in zip(shown.goods, shown.masks, shown.types, strict=True)
            ]
            yield Strip("good image", pictures, "the kind of defect, and where it is to be")
        pictures = [
            Picture(webp(photograph(image)), text, f"{kind} made on a good {made.category}: {text}")
            for image, kind, text in zip(shown.images, shown.types, shown.captions, strict=True)
        ]
        yield Strip(made.label, pictures, made.about)
        before = shown.masks
