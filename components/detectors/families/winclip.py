"""WinCLIP, which is not trained: it compares images with words and with the good images as references."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from goodshot.components.detectors.families.anomalib_family import AnomalibFamily
from goodshot.components.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

    from goodshot.components.detectors.anomalib_model import AnomalibDetector
    from goodshot.components.detectors.config import DetectorConfig

# The network has position embeddings for this side in pixels only.
_SIDE = 240


@dataclass(frozen=True, eq=False)
class WinCLIPFamily(AnomalibFamily):
    """WinCLIP; `class_name` in its arguments replaces the study's object name."""

    @property
    def trained(self) -> bool:
        """Always false: the references need no steps."""
        return False

    def reads_object_name(self, config: DetectorConfig) -> bool:
        """Whether its prompts use the study's object name: unless an argument names the object."""
        return "class_name" not in config.args

    def check(self, config: DetectorConfig) -> None:
        """Raise as `AnomalibFamily.check` does, and for another image side or references from elsewhere."""
        super().check(config)
        if config.resolution != _SIDE:
            raise BadInput(f"detector {self.name}: its network reads images of {_SIDE} px and no others")
        if "few_shot_source" in config.args:
            raise BadInput(
                f"detector {self.name}: its references are the good images it is fitted on, no few_shot_source"
            )
        shots = config.args.get("k_shot")
        if shots is not None and (not isinstance(shots, int) or shots < 0):
            raise BadInput(
                f"detector {self.name}: k_shot is a number of good images, 0 for none of them; got {shots!r}"
            )

    def fit(self, detector: AnomalibDetector, good: list[Tensor]) -> None:
        """Set the references (Jeong et al. 2023, §4.2): all good images, or the first `k_shot`; with 0 none."""
        import torch

        args = detector.config.args
        wanted = args.get("k_shot", len(good))
        if wanted > len(good):
            raise BadInput(
                f"detector {detector.config.label}: k_shot {wanted} is more than the {len(good)} good images"
            )
        name = args.get("class_name") or detector.object_name or "object"
        detector.module.to(detector.device).eval()
        detector.module.model.setup(name, torch.stack(good[:wanted]).to(detector.device) if wanted else None)


WINCLIP = WinCLIPFamily("winclip", default={"image_size": _SIDE}, fixed=("open_clip:ViT-B-16-plus-240:laion400m_e31",))
