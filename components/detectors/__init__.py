"""Detectors (METHOD A4): anomaly detection models behind two verbs, `fit` on good images and `score`.

What goes in is what every room of the house hands on, uint8 RGB images; what comes out are raw scores and
maps, not normalised, not thresholded. No test image, label or mask takes part in `fit`. Configs and types
import neither torch nor anomalib, so a light driver can hold them; `build_detector` is where the heavy
imports happen.
"""

from components.detectors.base import Detector, Features, Images, Scores, SharesFeatures
from components.detectors.config import DetectorConfig

__all__ = ["Detector", "DetectorConfig", "Features", "Images", "Scores", "SharesFeatures", "build_detector"]


def build_detector(config: DetectorConfig, seed: int, device: str = "cpu", object_name: str | None = None) -> Detector:
    """Return the detector that `config` names, not fitted yet.

    `seed` drives every draw the detector makes, from its first weights on; the global random states are left as they
    were. `device` is a torch device string and no part of the identity. `object_name` is what the photographed object
    is called, for a detector that reads it (`config.uses_object_name()`) and for no other.

    Raises `MissingWeights` where pretrained weights are not on this machine, `BadInput` for arguments that the model
    refuses.
    """
    return config.family.build(config, seed, device, object_name)
