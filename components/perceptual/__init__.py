"""Perceptual distances of two images, for losses and metrics: LPIPS, and its embedded substitute."""

from goodshot.components.perceptual.lite0 import PerceptualLoss
from goodshot.components.perceptual.lpips import LPIPS, load_lpips, lpips_of_trunk

__all__ = ["LPIPS", "PerceptualLoss", "load_lpips", "lpips_of_trunk"]
