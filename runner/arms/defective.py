"""The common base of arms that add defective images with masks, on which segmenters and classifiers are trained."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import pyarrow as pa

from goodshot.components.data.layout import Finding
from goodshot.components.data.sample import Sample
from goodshot.components.defects.captions import Captions, read_captions
from goodshot.components.defects.thirds import Thirds, split_thirds
from goodshot.components.errors import BadInput
from goodshot.components.prompts import object_for
from goodshot.runner.arms.base import AddedImages, Arm, Planner, Product, SeededSupport, Variant
from goodshot.runner.data.catalogue import Category
from goodshot.runner.declaration.fields import Declaration
from goodshot.runner.stages.defect_set import Defective, DefectSetStage, parts_of
from goodshot.runner.stages.defects import SeenDefects

COLUMNS: Mapping[str, pa.DataType] = MappingProxyType(
    {"side": pa.int64(), "defects_seen": pa.int64(), "images_made": pa.int64(), "seconds_made": pa.float64()}
)


@dataclass(frozen=True, slots=True)
class DefectSplit:
    """The division of a category's defective images (METHOD B, Data).

    fit: the images that a study learns from.
    validation: the images that choose a checkpoint.
    test_ids: the ids of the test images: defective images of the other two thirds, and the good images.
    """

    fit: SeenDefects
    validation: SeenDefects
    test_ids: tuple[str, ...]


def plan_split(planner: Planner, category: str) -> DefectSplit:
    """The division of a category's defective images, which is the same for all of its cells.

    Raises:
        BadInput: a defect type has too few images, or a caption is wrong.
    """
    return planner.once(_split, category)


def _split(planner: Planner, name: str) -> DefectSplit:
    study, category = planner.study, planner.categories[name]
    if category.n_test:
        planner.once(_check_left_out)
        thirds = split_thirds(category.samples, study.synthesis.leave_out)
    else:
        # A user's own photographs have no test images, so all defective ones are training images.
        thirds = Thirds(tuple(sample for sample in category.samples if sample.label), (), (), ())
    sentences = _captions(study, category).sentences

    _check_masks(category, thirds.train)

    def seen(samples: tuple[Sample, ...]) -> SeenDefects:
        texts = [sentences[sample.image_id] for sample in samples]
        return SeenDefects.of(category.shard, samples, texts, study.synthesis.side)

    tested = tuple(sample.image_id for sample in (*thirds.good, *thirds.test))
    return DefectSplit(seen(thirds.fit), seen(thirds.validation), tested)


def _check_masks(category: Category, learned: Sequence[Sample]) -> None:
    """Raise :class:`BadInput` for a defective training image in which no defect is marked."""
    unmarked = {finding.path for finding in category.findings if finding.kind == "unmarked"}
    for sample in learned:
        if not sample.masks:
            raise BadInput(
                f"{sample.image_path}: has no mask in {category.name}, and a defect is learned from each image of the "
                "training third; add the masks that are missing"
            )
        if sample.image_path in unmarked:
            raise BadInput(
                f"{sample.image_path}: nothing is marked in its mask, and a defect is learned from it; "
                "draw the defect, or move the image to the normal ones"
            )


def _check_left_out(planner: Planner) -> None:
    """Raise :class:`BadInput` if ``synthesis.leave_out`` names a defect type that no category has."""
    samples = [sample for category in planner.categories.values() for sample in category.samples]
    found = {sample.defect_type for sample in samples if sample.label}
    if unknown := sorted({*planner.study.synthesis.leave_out} - found):
        raise BadInput(
            f"synthesis.leave_out: no category has a defect type {unknown[0]}; there are: {', '.join(sorted(found))}"
        )


def _captions(study: Declaration, category: Category) -> Captions:
    """The captions of the defective images of a category."""
    config = study.synthesis
    if config.caption is not None:
        return Captions({sample.image_id: config.caption for sample in category.samples}, frozenset())
    root = None if config.captions is None else Path(config.captions).expanduser()
    return read_captions(root, category.name, category.samples, object_for(category.name, study.objects))


class DefectArm(Arm):
    """Adds ``copies`` defective images for each defect type."""

    makes: ClassVar[Product] = "defective"
    has_types: bool = True
    """Whether the arm's images show the types of the real defects."""
    fields: ClassVar[tuple[str, ...]] = ("synthesis.side", "synthesis.placing", "synthesis.captions")
    """The fields of a study that its images depend on, besides ``copies``."""
    point_fields: ClassVar[tuple[str, ...]] = ("copies",)
    searched = frozenset({"copies", "synthesis"})
    images_are = "defective"
    columns = COLUMNS

    def findings(self, study: Declaration, category: Category) -> tuple[Finding, ...]:
        """Return findings about captions, such as images without one, which are described by their type's name."""
        return _captions(study, category).findings

    def variants(self, study: Declaration) -> Iterator[Variant]:
        """One variant for each number of copies, or the one of ``synthesis.copies``."""
        numbers = (study.synthesis.copies or point.copies for point in study.points)
        yield from (Variant(self, copies) for copies in dict.fromkeys(numbers))

    def plan(self, planner: Planner, variant: Variant, seeded: SeededSupport, side: int) -> AddedImages:
        """Plan the parts of the defect set."""
        split = plan_split(planner, seeded.category.name)
        if self.has_types and not split.fit:
            raise BadInput(f"{self.name}: there is no defective image to learn from; add some, or use cutpaste")
        ranges = parts_of(self.count(variant, split))
        stages = [planner.add(self.part(planner, variant, seeded, split, each)) for each in ranges]
        parts = tuple(stage.key for stage in stages)
        return AddedImages({"defect_set": list(parts)}, tuple(stage.id for stage in stages), parts[0], parts=parts)

    def count(self, variant: Variant, split: DefectSplit) -> int:
        """The number of images of a variant: ``copies`` for each type of the real defects.

        An arm without the real types makes the same total number, so that arms can be compared.
        """
        return variant.copies * max(1, len(split.fit.kinds))

    @abstractmethod
    def part(
        self, planner: Planner, variant: Variant, seeded: SeededSupport, split: DefectSplit, indices: range
    ) -> DefectSetStage:
        """The stage that makes the images of these indices."""

    def defective(self, split: DefectSplit, added: AddedImages) -> Defective:
        """The defective images of a cell: the images that the arm makes, or the real ones if it makes none."""
        return Defective(added.parts, split.fit, added.inputs)

    def declared(self, planner: Planner, category: str) -> dict[str, Any]:
        """Columns of the row that are known when planning: the images' side, and the number of real defects used."""
        return {"side": planner.study.synthesis.side, "defects_seen": len(plan_split(planner, category).fit)}

    def caption(self, row: Mapping[str, Any]) -> str:
        """A caption for the row's added images."""
        return "defective images of each type"
