"""The defect set of a paster: defective images without a generative model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from goodshot.components.defects.captions import default_caption
from goodshot.components.defects.pasting import Paster, paste, sites_of
from goodshot.components.defects.placing import PlacingConfig
from goodshot.runner.declaration.resources import Resources
from goodshot.runner.stages.base import Context, Support
from goodshot.runner.stages.defect_set import DefectSetStage, set_key
from goodshot.runner.stages.defects import SeenDefects

if TYPE_CHECKING:
    import numpy as np

    from goodshot.components.defects import DefectImages, Site


@dataclass(frozen=True, kw_only=True)
class PastedSetStage(DefectSetStage):
    """Make a part of a defect set by a paster."""

    computes = False

    paster: Paster
    placing: PlacingConfig
    object_name: str
    caption: str | None = None
    """The caption of all images of a paster without real defects; None for a caption made of the object's name."""

    @property
    def maker(self) -> str:
        """The paster's name."""
        return self.paster.name

    def make(
        self, goods: np.ndarray, products: np.ndarray, defects: DefectImages, context: Context
    ) -> tuple[DefectImages, Sequence[Site]]:
        """Paste at sites of the seed."""
        sites = sites_of(self.paster, products, defects, self.indices, self.seed, self.placing)
        return paste(
            self.paster, goods, products, defects, self.indices, self.seed,
            self.caption or default_caption(self.object_name, self.paster.name), self.placing, sites,
        ), sites  # fmt: skip


def pasted_part(
    paster: Paster,
    support: Support,
    defects: SeenDefects,
    seed: int,
    indices: range,
    placing: PlacingConfig,
    object_name: str,
    caption: str | None,
    resources: Resources,
) -> PastedSetStage:
    """The stage of a part. The paster's options, the placing, the object's name and a caption identify it too."""
    maker = {
        "paster": paster.name,
        "options": paster.identity(),
        "placing": placing.model_dump(mode="json"),
        "object": object_name,
        **({} if caption is None or paster.needs_defects else {"caption": caption}),
    }
    return PastedSetStage(
        key=set_key(maker, support, defects, seed, indices),
        resources=resources,
        support=support,
        defects=defects,
        seed=seed,
        first=indices.start,
        count=len(indices),
        paster=paster,
        placing=placing,
        object_name=object_name,
        caption=caption,
    )
