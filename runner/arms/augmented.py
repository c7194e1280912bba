"""The arm ``augmented``: plain augmentation of the originals, the control that the paper lacks."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from runner.arms.base import AddedImages, Arm, Planner, SeededSupport, Variant
from runner.declaration.fields import Declaration
from runner.stages.base import Context, Support
from runner.stages.need import Need, quality_needs
from runner.stages.shard import read_support

if TYPE_CHECKING:
    import numpy as np


class Augmented(Arm):
    """As many views of the originals as other arms add images, by the strongest policy that any arm of the study uses.

    The views are made at the detector's resolution: plain augmentation needs no generator, so nothing has to blur it.
    """

    name = label = "augmented"
    colour = "#E69F00"
    is_baseline = True
    point_fields = paired_by = ("copies",)
    searched = frozenset({"copies", "augmentation", "post_augment", "detectors"})
    images_are = "augmented"
    columns = MappingProxyType({"augmentation": pa.string()})

    def variants(self, study: Declaration) -> Iterator[Variant]:
        """One for each number of copies."""
        yield from (Variant(self, point.copies) for point in study.points)

    def plan(self, planner: Planner, variant: Variant, seeded: SeededSupport, side: int) -> AddedImages:
        """No stage: views cost less to make than to keep."""
        policy = planner.study.control_policy
        identity = {"augmented": planner.policy(policy), "copies": variant.copies, "seed": seeded.seed}
        return AddedImages(identity, policy=policy, side=side)

    def images(
        self, variant: Variant, added: AddedImages, support: Support, seed: int, context: Context
    ) -> tuple[np.ndarray | None, dict[str, Any]]:
        """Views uint8 (M, side, side, 3)."""
        from components.generator.augment import POLICIES, augmented_set

        originals = read_support(support, context.store, added.side)
        return augmented_set(originals, POLICIES[added.policy], variant.copies, seed), {}

    def declared(self, planner: Planner, category: str) -> dict[str, Any]:
        """The policy."""
        return {"augmentation": planner.study.control_policy}

    def needs(self, study: Declaration) -> Iterator[Need]:
        """The networks of image quality."""
        return quality_needs()
