"""The arms ``crop_paste``, ``cutpaste``, ``draem``, ``draem_skimage``: images without a generative model (Table 1)."""

from __future__ import annotations

from collections.abc import Iterator

from goodshot.components.defects.pasting import Paster
from goodshot.components.prompts import object_for
from goodshot.runner.arms.base import Planner, SeededSupport, Variant
from goodshot.runner.arms.defective import DefectArm, DefectSplit
from goodshot.runner.declaration.fields import Declaration
from goodshot.runner.stages.need import Need
from goodshot.runner.stages.pasted_set import PastedSetStage, pasted_part


class Pasted(DefectArm):
    """Adds the images of one paster.

    A paster that uses real defects, such as crop-paste, is a baseline for arms that generate defective images.
    """

    stages = (PastedSetStage,)

    def __init__(self, paster: Paster, colour: str) -> None:
        self.paster, self.colour = paster, colour  # type: ignore[misc]
        self.name = self.label = paster.name
        self.has_types = paster.needs_defects
        self.is_baseline = paster.needs_defects  # type: ignore[misc]
        self.paired_by = ("copies",)  # type: ignore[misc]
        self.in_words = paster.title.lower()  # type: ignore[misc]
        if not paster.needs_defects:
            self.fields = ("synthesis.side",)  # type: ignore[misc]

    def needs(self, study: Declaration) -> Iterator[Need]:
        """The photographs that the paster blends in, if they have to be fetched."""
        for name in self.paster.weights:
            yield Need(name, f"arm {self.name}")

    def part(
        self, planner: Planner, variant: Variant, seeded: SeededSupport, split: DefectSplit, indices: range
    ) -> PastedSetStage:
        """The stage that pastes the images of these indices.

        The images depend on the good images, the real defects, the seed, the indices and the paster's options only;
        captions on the object's name, or on the study's one sentence.
        """
        study = planner.study
        return pasted_part(
            self.paster, seeded.support, split.fit, seeded.seed, indices, study.synthesis.placing,
            object_for(seeded.category.name, study.objects), study.synthesis.caption, study.resources,
        )  # fmt: skip
