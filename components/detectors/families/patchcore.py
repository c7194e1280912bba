"""PatchCore, which has its own detector class (`components/detectors/patchcore.py`): a memory bank, no training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from goodshot.components.detectors.backbones import EMBEDDED_BACKBONE
from goodshot.components.detectors.families.family import Family
from goodshot.components.errors import BadInput

if TYPE_CHECKING:
    from goodshot.components.detectors.base import Detector
    from goodshot.components.detectors.config import DetectorConfig

_LAYERS = ("layer2", "layer3")


@dataclass(frozen=True, eq=False)
class PatchCoreFamily(Family):
    """PatchCore on the embedded backbone, or on any network of timm with layers of these names."""

    unread = ("args", "steps", "epochs", "epoch_images", "batch_size", "learning_rate")
    unread_because = "trains nothing and takes no other arguments"
    shares_features = True

    @property
    def reads_layers(self) -> bool:
        """Always true: the memory bank consists of the layers' features."""
        return True

    def completed(self, values: dict[str, Any]) -> dict[str, Any]:
        """Fill in a ResNet's layers if another backbone than the embedded one is given without layers."""
        if values.get("backbone", EMBEDDED_BACKBONE) != EMBEDDED_BACKBONE:
            values.setdefault("layers", _LAYERS)
        return values

    def check(self, config: DetectorConfig) -> None:
        """Raise as `Family.check` does, and for a missing backbone."""
        if config.backbone is None:
            raise BadInput(f"detector {self.name}: needs a backbone")
        super().check(config)

    def build(self, config: DetectorConfig, seed: int, device: str, object_name: str | None) -> Detector:
        """PatchCore with an empty memory bank; it uses no object name."""
        from goodshot.components.detectors.patchcore import PatchCore

        return PatchCore(config, seed=seed, device=device)


PATCHCORE = PatchCoreFamily(
    "patchcore",
    paper={
        "backbone": "wide_resnet50_2",
        "layers": _LAYERS,
        "coreset_ratio": 0.1,
        "num_neighbors": 9,
        "image_size": 256,
        "crop": 224,
    },
)
