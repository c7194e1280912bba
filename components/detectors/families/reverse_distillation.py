"""Reverse Distillation, whose decoder is a ResNet's: the embedded backbone's features take a ResNet-18's shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from goodshot.components.detectors.backbones import EMBEDDED_BACKBONE
from goodshot.components.detectors.families.anomalib_family import AnomalibFamily
from goodshot.components.errors import BadInput

if TYPE_CHECKING:
    from goodshot.components.detectors.config import DetectorConfig

_LITE0_LAYERS = ("blocks.1", "blocks.2", "blocks.4")
_RESNET_LAYERS = ("layer1", "layer2", "layer3")


@dataclass(frozen=True, eq=False)
class ReverseDistillationFamily(AnomalibFamily):
    """Reverse Distillation with the embedded backbone as its encoder, or unchanged from anomalib."""

    def check(self, config: DetectorConfig) -> None:
        """Raise as `AnomalibFamily.check` does, and for Lite0 layers whose strides do not fit the decoder."""
        super().check(config)
        if config.backbone == EMBEDDED_BACKBONE and config.layers != _LITE0_LAYERS:
            raise BadInput(f"detector {self.name}: reads blocks.1, blocks.2 and blocks.4 (strides 4, 8, 16)")

    def network_arguments(self, config: DetectorConfig) -> dict[str, Any]:
        """ResNet-18's bottleneck and decoder for the embedded backbone, which then replaces the encoder."""
        found = super().network_arguments(config)
        if config.backbone == EMBEDDED_BACKBONE:
            found |= {"backbone": "resnet18", "layers": [*_RESNET_LAYERS]}
        return found

    def prepare(self, module: Any, config: DetectorConfig) -> None:
        """Replace the encoder before the weights are loaded into it."""
        if config.backbone == EMBEDDED_BACKBONE:
            from goodshot.components.detectors.embedded import SignSplit, feature_extractor

            module.model.encoder = SignSplit(feature_extractor(config.layers or ())).eval()
        super().prepare(module, config)


REVERSE_DISTILLATION = ReverseDistillationFamily(
    "reverse_distillation",
    default={"layers": _LITE0_LAYERS, "steps": 100, "batch_size": 2, "learning_rate": 0.005},
    paper={
        "backbone": "wide_resnet50_2",
        "layers": _RESNET_LAYERS,
        "args": {"anomaly_map_mode": "multiply"},
        "epochs": 200,
        "batch_size": 32,
        "learning_rate": 0.005,
        "image_size": 256,
    },
)
