"""The common base of cells about defective images. They are tested only on images that nothing was learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from goodshot.runner.arms import AddedImages, Planner, Product, SeededSupport, Variant
from goodshot.runner.arms.defective import DefectArm, DefectSplit, plan_split
from goodshot.runner.cells.base import Cell, CellKind, CellStage, cell_key, train_identity
from goodshot.runner.stages.base import Context
from goodshot.runner.stages.defect_set import Defective
from goodshot.runner.stages.defects import SeenDefects
from goodshot.runner.stages.segmenter import SegmenterStage, segmenter_key
from goodshot.runner.stages.values import TestImages
from goodshot.runner.store.fingerprint import canonical

if TYPE_CHECKING:
    from goodshot.components.data.shards import Split
    from goodshot.components.defects import DefectImages

S = TypeVar("S", bound="DefectCellStage")


@dataclass(frozen=True, kw_only=True)
class DefectCellStage(CellStage):
    """A cell that measures defective images.

    split: the images to learn from, to choose a checkpoint by, and to test on.
    side: the side in pixels to which test images are resized.
    """

    split: DefectSplit
    side: int

    @property
    def tested(self) -> TestImages:
        """The category's test images, of which :meth:`test_images` takes those that nothing was learned from."""
        return TestImages(self.support.shard, self.side)

    def test_images(self, context: Context) -> Split:
        """The good test images and the last two thirds of the defective ones."""
        split: Split = context.read(self.tested)
        return split.of(self.split.test_ids)

    @property
    def defective(self) -> Defective:
        """The planned defective images, or the real ones for an arm that makes none."""
        return cast("DefectArm", self.cell.arm).defective(self.split, self.added)

    @property
    def validation_read(self) -> tuple[SeenDefects, ...]:
        """The images of :meth:`validation` as shared values: one, or none."""
        return (self.split.validation,) if len(self.split.validation) else ()

    def validation(self, context: Context) -> DefectImages | None:
        """The real images that choose a checkpoint; None if the training third is too small to spare any."""
        return next(map(context.read, self.validation_read), None)


class DefectCellKind(CellKind):
    """A kind of cell that measures defective images."""

    measures: ClassVar[Product] = "defective"
    needs_types: ClassVar[bool] = False
    """Whether the images have to show the real types of defect."""

    def wants(self, variant: Variant) -> bool:
        """Whether the variant adds defective images, of the real types if that matters."""
        arm = variant.arm
        return super().wants(variant) and isinstance(arm, DefectArm) and (arm.has_types or not self.needs_types)

    def planned(
        self,
        stage: type[S],
        options: Mapping[str, Any],
        planner: Planner,
        cell: Cell,
        seeded: SeededSupport,
        added: AddedImages,
        declared: Mapping[str, Any],
        **fields: Any,
    ) -> S:
        """Return a planned cell, identified by its options, its seed, the training and test images, and the split."""
        category, split = seeded.category, plan_split(planner, seeded.category.name)
        inputs = {
            "train": planner.once(train_identity, seeded.support),
            "added": added.identity,
            "fit": split.fit.identity(),
            "validation": split.validation.identity(),
            "tested": list(split.test_ids),
            "test": category.test_identity,
        }
        return stage(
            key=cell_key(stage.kind, stage.version, canonical({**options, "seed": cell.seed}, self.name), inputs),
            resources=planner.study.resources,
            cell=cell,
            study=planner.study.name,
            support=seeded.support,
            added=replace(added, identity={}),
            declared=declared,
            split=split,
            **fields,
        )


def plan_segmenter(planner: Planner, cell: Cell, seeded: SeededSupport, added: AddedImages) -> SegmenterStage:
    """Add the training of the study's segmenter on a cell's defective images."""
    config, split = planner.study.synthesis.segmenter, plan_split(planner, seeded.category.name)
    defective = cast("DefectArm", cell.arm).defective(split, added)
    return planner.add(
        SegmenterStage(
            key=segmenter_key(seeded.support, defective, split.validation, config, cell.seed),
            resources=planner.study.resources,
            support=seeded.support,
            defective=defective,
            validation=split.validation,
            config=config,
            seed=cell.seed,
            trained_for=f"{cell.category} seed={cell.seed} {cell.variant.label}",
        )
    )


def shows_pictures(planner: Planner, cell: Cell) -> bool:
    """Whether the report shows pictures of a cell: those of the first support and of the first seed."""
    first = planner.study.support_seeds[0]
    return cell.seed == first if cell.support_seed is None else cell.support_seed == first
