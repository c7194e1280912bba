"""Detectors (METHOD A4): anomaly detection models with two methods, `fit` on good images and `score`.

Inputs are uint8 RGB images; outputs are raw scores and anomaly maps, neither normalised nor
thresholded. `fit` uses no test image, label or mask. Configurations and types import neither torch nor
anomalib, so that a light driver process can hold them; `build_detector` does the heavy
imports.
"""

from goodshot.components.detectors.base import Detector, Features, Images, Scores, SharesFeatures
from goodshot.components.detectors.config import DetectorConfig

__all__ = ["Detector", "DetectorConfig", "Features", "Images", "Scores", "SharesFeatures", "build_detector"]


def build_detector(config: DetectorConfig, seed: int, device: str = "cpu", object_name: str | None = None) -> Detector:
    """Return the detector that `config` describes, not fitted yet.

    `seed` determines every random draw of the detector, from its first weights on; the global random states do not
    change. `device` is a torch device string and not part of the identity. `object_name` is the name of the
    photographed object, which only some detectors use (`config.uses_object_name()`).

    Raises `MissingWeights` if pretrained weights are not on this machine, `BadInput` for arguments that the model
    refuses.
    """
    return config.family.build(config, seed, device, object_name)
