"""The arm ``real_defects``: the real defective images of the training third, and no others."""

from __future__ import annotations

from collections.abc import Iterator

from goodshot.runner.arms.base import AddedImages, Planner, SeededSupport, Variant
from goodshot.runner.arms.defective import DefectArm, DefectSplit, plan_split
from goodshot.runner.declaration.fields import Declaration
from goodshot.runner.stages.defect_set import DefectSetStage


class RealDefects(DefectArm):
    """Adds no image: segmenters and classifiers are trained on the real images that the other arms are made of."""

    name = label = "real_defects"
    colour = "#0072B2"
    is_baseline = True
    in_words = "the real defects alone"
    point_fields = ()
    searched = frozenset({"synthesis"})
    images_are = "real defective"

    def variants(self, study: Declaration) -> Iterator[Variant]:
        """One variant."""
        yield Variant(self)

    def plan(self, planner: Planner, variant: Variant, seeded: SeededSupport, side: int) -> AddedImages:
        """Plan no stage: the images are in the shard."""
        return AddedImages({"real_defects": plan_split(planner, seeded.category.name).fit.identity()})

    def part(
        self, planner: Planner, variant: Variant, seeded: SeededSupport, split: DefectSplit, indices: range
    ) -> DefectSetStage:
        """Never called, because nothing is made."""
        raise NotImplementedError(self.name)
