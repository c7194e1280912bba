"""The CPUs and GPUs of one stage, and how many stages run at once."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from goodshot.components.config import Config

Count = Annotated[int, Field(ge=1)]
GPUs = Annotated[float, Field(ge=0)] | Literal["auto"]


class Resources(Config):
    """The resources of a study's stages. Only ``generator_workers`` is part of an identity: of the generators.

    GPUs ``auto``: none on a node without one; otherwise a whole GPU for the first stage of its kind, and for later
    stages the share of a GPU whose memory such a stage was measured to need.
    """

    generator_cpus: float = Field(default=1, gt=0)
    generator_gpus: GPUs = "auto"
    generator_workers: Count = Field(
        default=1, description="processes that train one generator together; each takes the CPUs and GPUs above"
    )
    generators: Count | None = Field(default=None, description="trainings at once; null: as many as resources allow")
    detector_cpus: float = Field(default=1, gt=0)
    detector_gpus: GPUs = "auto"
    detections: Count | None = Field(default=None, description="detections at once; null: as many as resources allow")
