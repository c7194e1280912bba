"""The fields of a study about defective images: how they are made, and what is trained on them (METHOD B)."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, PositiveInt, StringConstraints, model_validator

from goodshot.components.classifiers.config import ClassifierConfig
from goodshot.components.config import Config
from goodshot.components.defects.placing import PlacingConfig
from goodshot.components.fusion.config import MODULES, FusionConfig
from goodshot.components.segmenters.config import SegmenterConfig
from goodshot.runner.declaration.several import Several


class SynthesisConfig(Config):
    """Defective images of a category: the study's ``copies``, or its own, for each defect type.

    They are made of the first third of the test split's defective images and of the support's good ones; everything is
    tested on the others.
    """

    captions: str | None = Field(
        default=None, description="folder with <category>/prompt/<type>/NNN.txt; none: the defect types' names"
    )
    caption: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)] | None = Field(
        default=None, description="one sentence for all defective images, instead of captions"
    )
    copies: PositiveInt | None = Field(
        default=None, description="defective images for each type, in a study whose good images have other copies"
    )
    leave_out: Several[str] = Field(default=(), description="defect types that are neither learned nor tested")
    side: int = Field(
        default=128,
        ge=16,
        le=1024,
        description="of the images, in pixels; a fusion of a lower resolution adds its enlarged differences to them",
    )
    fusion: FusionConfig = FusionConfig()
    placing: PlacingConfig = PlacingConfig()
    segmenter: SegmenterConfig = SegmenterConfig()
    classifier: ClassifierConfig = ClassifierConfig()
    measured: PositiveInt = Field(
        default=1000, description="the first so many images of a category whose quality is measured"
    )

    @model_validator(mode="after")
    def _the_arm_chooses_the_modules(self) -> Self:
        if (modules := self.fusion.modules) != (whole := "+".join(MODULES)):
            raise ValueError(
                f"fusion: text, mif and ddf are chosen by the arm, fusion:{modules} instead of fusion ({whole}); "
                "leave them out and declare that arm"
            )
        return self

    @model_validator(mode="after")
    def _one_source_of_captions(self) -> Self:
        if self.captions is not None and self.caption is not None:
            raise ValueError("caption = one sentence for all images, captions = a folder; give one of them")
        return self
