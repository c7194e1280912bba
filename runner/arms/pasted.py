"""The arms ``crop_paste``, ``cutpaste`` and ``draem``: defective images without a generative model (Table 1)."""

from __future__ import annotations

from goodshot.components.defects.pasting import Paster
from goodshot.components.prompts import object_for
from goodshot.runner.arms.base import Planner, SeededSupport, Variant
from goodshot.runner.arms.defective import DefectArm, DefectSplit
from goodshot.runner.stages.pasted_set import PastedSetStage, pasted_part


class Pasted(DefectArm):
    """Adds the images of one paster. Generated ones are compared with crop-paste, which uses the real defects."""

    def __init__(self, paster: Paster, colour: str) -> None:
        self.paster, self.colour = paster, colour  # type: ignore[misc]
        self.name = self.label = paster.name
        self.has_types = paster.needs_defects
        self.is_baseline = paster.needs_defects  # type: ignore[misc]
        self.paired_by = ("copies",)  # type: ignore[misc]
        self.in_words = paster.title.lower()  # type: ignore[misc]

    def types(self, split: DefectSplit) -> tuple[str, ...]:
        """Those of the real defects, or the paster's own."""
        return split.fit.kinds if self.paster.needs_defects else (self.paster.name,)

    def part(
        self, planner: Planner, variant: Variant, seeded: SeededSupport, split: DefectSplit, indices: range
    ) -> PastedSetStage:
        """Images that only depend on the good ones, the real defects, the seed and their indices."""
        study = planner.study
        return pasted_part(
            self.paster, seeded.support, split.fit, seeded.seed, indices, study.synthesis.placing,
            object_for(seeded.category.name, study.objects), study.resources,
        )  # fmt: skip
