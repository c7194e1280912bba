"""The CPUs and GPUs of one stage, and how many stages run at once."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from goodshot.components.config import Config

Count = Annotated[int, Field(ge=1)]
GPUs = Annotated[float, Field(ge=0)] | Literal["auto"]


class Resources(Config):
    """The resources of a study's stages. Only ``generator_workers`` is part of an identity, that of the generators.

    GPUs ``auto``: none on a node without one; otherwise a whole GPU for the first stage of its kind, and for later
    stages the share of a GPU whose memory such a stage was measured to need. An accelerator is a type of GPU by Ray's
    name; with one named, stages run on nodes with such GPUs alone, and an autoscaler is asked for them.
    """

    generator_cpus: float = Field(default=1, gt=0)
    generator_gpus: GPUs = "auto"
    generator_accelerator: str | None = Field(
        default=None, min_length=1, description="Ray's name of the GPUs for trainings, such as H200; null: any"
    )
    generator_workers: Count = Field(
        default=1, description="processes that train one generator together; each takes the CPUs and GPUs above"
    )
    generators: Count | None = Field(default=None, description="trainings at once; null: as many as resources allow")
    detector_cpus: float = Field(default=1, gt=0)
    detector_gpus: GPUs = "auto"
    detector_accelerator: str | None = Field(
        default=None, min_length=1, description="Ray's name of the GPUs for detectors and other cells, such as L4"
    )
    detections: Count | None = Field(default=None, description="detections at once; null: as many as resources allow")
    silence_seconds: float = Field(
        default=1800, ge=0, description="a stage without a sign of life for so long is killed and run again; 0: never"
    )
