"""AnomalyDINO, which has its own detector class (`components/detectors/anomaly_dino.py`) and shares its features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from goodshot.components.detectors.families.anomalib_family import AnomalibFamily

if TYPE_CHECKING:
    from goodshot.components.detectors.anomalib_model import AnomalibDetector
    from goodshot.components.detectors.config import DetectorConfig


@dataclass(frozen=True, eq=False)
class AnomalyDINOFamily(AnomalibFamily):
    """AnomalyDINO on the DINOv2 named by its argument."""

    shares_features = True

    def build(self, config: DetectorConfig, seed: int, device: str, object_name: str | None) -> AnomalibDetector:
        """The model, which reads an image once for all fits."""
        from goodshot.components.detectors.anomaly_dino import AnomalyDINO

        return AnomalyDINO(config, self, seed=seed, device=device)


ANOMALY_DINO = AnomalyDINOFamily(
    "anomaly_dino",
    default={"image_size": 252},  # a multiple of its patches of 14 pixels
    network_argument="encoder_name",
)
