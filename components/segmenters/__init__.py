"""Localisation of defects by a U-Net that is trained on made defective images with their masks (Table 3)."""

from goodshot.components.segmenters.config import SegmenterConfig
from goodshot.components.segmenters.training import Segmenter, Validation

__all__ = ["Segmenter", "SegmenterConfig", "Validation"]
