"""The presets of a study: ``paper`` as far as the paper states its settings, ``default`` the best setting measured.

A preset fills in the fields that a study does not give itself, also within ``generator``; their values appear in
the study's YAML.
"""

from __future__ import annotations

import copy
from typing import Any, Final

from goodshot.components.generator.config import published

PAPER: Final[dict[str, Any]] = {
    "augmentation": "mild",
    "variance": ("estimated",),
    "detail": ("none",),
    "post_augment": ("none",),
    "prompt_kind": ("best",),
    "select": ("text",),
    # The paper states neither CLIP's size nor the VQGAN's K: these are the most widely used.
    "encoder": "open_clip:ViT-B-32:openai",
    "generator": published("imagenet_1024", perceptual="lpips").model_dump(mode="json"),
    "detectors": ({"name": "patchcore", "preset": "paper"},),
}
"""Published VQGAN f16 (K = 1024) at 256², its LPIPS, CLIP, and a PatchCore that the paper can have used."""
DEFAULT: Final[dict[str, Any]] = {
    # The same as without a preset: ``--set preset=default`` gives a study of the preset ``paper`` the embedded weights.
    "encoder": "conse-lite0-minilm",
    "detectors": ({"name": "patchcore"},),
    "augmentation": "mild",
    "variance": ("estimated",),
    "detail": ("residual_256",),
    "post_augment": ("strong",),
    "iterations": (60,),
    "generator": {"resolution": 128},
    "synthesis": {},
}
"""The small network from scratch, its residual on the sharp original, then plain augmentation: the only setting tried
that harms no development category (docs/generator.md); none was better than plain augmentation."""
PRESETS: Final[dict[str, dict[str, Any]]] = {"default": DEFAULT, "paper": PAPER}
"""Preset name → the fields that it sets. Without a preset every field has its own default: from scratch, as decoded."""


def fill_study_fields(values: dict[str, Any]) -> dict[str, Any]:
    """A study's fields as given, and those not given from its preset. An unknown preset fills nothing.

    :class:`Study` refuses an unknown preset when it validates the fields.
    """
    preset = preset_fields(values.get("preset"))
    merged = {**preset, **values}
    for name in preset.keys() & values.keys():
        if isinstance(preset[name], dict) and isinstance(values[name], dict):
            merged[name] = {**preset[name], **values[name]}
    return merged


def preset_fields(name: object) -> dict[str, Any]:
    """A copy of a preset's fields; an empty dictionary for an unknown name."""
    return copy.deepcopy(PRESETS.get(str(name), {}))
