"""The arms ``crop_paste``, ``cutpaste`` and ``draem``: defective images without a generative model (Table 1)."""

from __future__ import annotations

from goodshot.components.defects.pasting import Paster
from goodshot.components.prompts import object_for
from goodshot.runner.arms.base import Planner, SeededSupport, Variant
from goodshot.runner.arms.defective import DefectArm, DefectSplit
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

    def types(self, split: DefectSplit) -> tuple[str, ...]:
        """The types of the real defects if the paster uses them, otherwise the paster's name as the only type."""
        return split.fit.kinds if self.paster.needs_defects else (self.paster.name,)

    def part(
        self, planner: Planner, variant: Variant, seeded: SeededSupport, split: DefectSplit, indices: range
    ) -> PastedSetStage:
        """The stage that pastes the images of these indices.

        The images depend on the good images, the real defects, the seed, the indices and the paster's options only.
        """
        study = planner.study
        return pasted_part(
            self.paster, seeded.support, split.fit, seeded.seed, indices, study.synthesis.placing,
            object_for(seeded.category.name, study.objects), study.resources,
        )  # fmt: skip
