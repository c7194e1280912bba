"""The arm ``augmented``: plain augmentation of the originals, a control experiment that the paper lacks."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from goodshot.runner.arms.base import AddedImages, Arm, Planner, SeededSupport, Variant
from goodshot.runner.declaration.fields import Declaration
from goodshot.runner.stages.base import Context, Support
from goodshot.runner.stages.shard import read_support

if TYPE_CHECKING:
    import numpy as np


class Augmented(Arm):
    """Adds as many views of the originals as other arms add images, with the strongest policy that the study uses.

    The views are made at the detector's resolution, and not at that of the generator, which may be lower.
    """

    name = label = "augmented"
    colour = "#E69F00"
    is_baseline = True
    in_words = "plain augmentation"
    point_fields = paired_by = ("copies",)
    searched = frozenset({"copies", "augmentation", "post_augment", "detectors"})
    images_are = "augmented"
    columns = MappingProxyType({"augmentation": pa.string()})

    def variants(self, study: Declaration) -> Iterator[Variant]:
        """One variant for each number of copies."""
        yield from (Variant(self, point.copies) for point in study.points)

    def plan(self, planner: Planner, variant: Variant, seeded: SeededSupport, side: int) -> AddedImages:
        """Plan no stage: the cell makes the views, which costs less than to store them."""
        policy = planner.study.control_policy
        identity = {"augmented": planner.policy(policy), "copies": variant.copies, "seed": seeded.seed}
        return AddedImages(identity, policy=policy, side=side)

    def images(
        self, variant: Variant, added: AddedImages, support: Support, seed: int, context: Context
    ) -> tuple[np.ndarray | None, dict[str, Any]]:
        """The views, uint8 RGB (M, side, side, 3)."""
        from goodshot.components.generator.augment import POLICIES, augmented_set

        originals = read_support(support, context.store, added.side)
        return augmented_set(originals, POLICIES[added.policy], variant.copies, seed), {}

    def declared(self, planner: Planner, category: str) -> dict[str, Any]:
        """The augmentation policy."""
        return {"augmentation": planner.study.control_policy}
