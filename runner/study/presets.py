"""The named settings of a study: ``paper`` as far as the paper says it, ``default`` the best that we have measured.

A preset fills in the fields that a study does not give itself, within ``generator`` too; what it filled in stands in
the study's YAML.
"""

from __future__ import annotations

import copy
from typing import Any, Final

from components.generator.config import published

PAPER: Final[dict[str, Any]] = {
    "augmentation": "mild",
    "variance": ("estimated",),
    "detail": ("none",),
    "post_augment": ("none",),
    "prompt_kind": ("best",),
    "select": ("text",),
    # The paper names neither CLIP's size nor the VQGAN's K: the most used of each.
    "encoder": "open_clip:ViT-B-32:openai",
    "generator": published("imagenet_1024", perceptual="lpips").model_dump(mode="json"),
    "detectors": ({"name": "patchcore", "preset": "paper"},),
}
"""Published VQGAN f16 (K = 1024) at 256², its LPIPS, CLIP, and PatchCore as the paper can have run it."""
DEFAULT: Final[dict[str, Any]] = {
    "augmentation": "mild",
    "variance": ("estimated",),
    "detail": ("residual_256",),
    "post_augment": ("strong",),
    "iterations": (60,),
    "generator": {"resolution": 128},
}
"""The small network from scratch, its residual on the sharp original, then plain augmentation: of all settings tried
the one that harms no development category (docs/generator.md); none gained over plain augmentation."""
PRESETS: Final[dict[str, dict[str, Any]]] = {"default": DEFAULT, "paper": PAPER}
"""By name, the fields that it decides. Without a preset every field has its own default: from scratch, as decoded."""


def filled(values: dict[str, Any]) -> dict[str, Any]:
    """A study's values with its preset's under them; an unknown preset is left for the study to refuse."""
    preset = preset_fields(values.get("preset"))
    merged = {**preset, **values}
    for name in preset.keys() & values.keys():
        if isinstance(preset[name], dict) and isinstance(values[name], dict):
            merged[name] = {**preset[name], **values[name]}
    return merged


def preset_fields(name: object) -> dict[str, Any]:
    """A copy of a preset's fields; none for an unknown name."""
    return copy.deepcopy(PRESETS.get(str(name), {}))
