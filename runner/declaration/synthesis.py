"""The fields of a study about defective images: how they are made, and what is trained on them (METHOD B)."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, PositiveInt

from goodshot.components.classifiers.config import ClassifierConfig
from goodshot.components.config import Config
from goodshot.components.defects.placing import PlacingConfig
from goodshot.components.fusion.config import FusionConfig
from goodshot.components.segmenters.config import SegmenterConfig
from goodshot.runner.declaration.several import AtLeastOne, Several

Modules = Literal["none", "text", "text+mif", "text+ddf", "text+mif+ddf"]
"""The parts of AnomalyXFusion that a fusion uses: the rows of Table 6. ``none`` is textual inversion alone."""
MODULES: tuple[Modules, ...] = get_args(Modules)


class SynthesisConfig(Config):
    """Defective images of a category, ``copies`` of each defect type.

    They are made of the first third of the test split's defective images and of the support's good ones; everything is
    tested on the others.
    """

    captions: str | None = Field(
        default=None, description="folder with <category>/prompt/<type>/NNN.txt; none: the defect types' names"
    )
    leave_out: Several[str] = Field(default=(), description="defect types that are neither learned nor tested")
    modules: AtLeastOne[Modules] = ("text+mif+ddf",)
    fusion: FusionConfig = FusionConfig()
    placing: PlacingConfig = PlacingConfig()
    segmenter: SegmenterConfig = SegmenterConfig()
    classifier: ClassifierConfig = ClassifierConfig()
    measured: PositiveInt = Field(
        default=1000, description="the first so many images of a category whose quality is measured"
    )

    @property
    def side(self) -> int:
        """The side of the images in pixels."""
        return self.fusion.resolution

    def fusion_with(self, modules: Modules) -> FusionConfig:
        """The fusion with these parts switched on, and the others off."""
        on = modules.split("+")
        return self.fusion.model_copy(update={name: name in on for name in ("text", "mif", "ddf")})
