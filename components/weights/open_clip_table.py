"""The models and pretrained tags that open_clip publishes, and their files on the hub. Imports no torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from goodshot.components.errors import MissingWeights
from goodshot.components.weights.asking import asked

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "sentencepiece.bpe.model")
COMPANIONS = (*TOKENIZER_FILES, "special_tokens_map.json", "spiece.model", "config.json")
"""The files of a tokenizer, as far as the repository has them."""


@dataclass(frozen=True)
class Tag:
    """One published set of weights of a model: `hub` is "owner/repository/file" (the file may be empty)."""

    name: str
    hub: str = ""
    url: str = ""
    quick_gelu: bool = False


def model_names() -> tuple[str, ...]:
    """Return every model for which open_clip has a configuration, registered ones included."""
    if (loaded := sys.modules.get("open_clip")) is not None:
        return tuple(loaded.list_models())
    return tuple(sorted(path.stem for path in (_package() / "model_configs").glob("*.json")))


def text_config(model: str) -> dict[str, Any]:
    """Return the text half of a model's configuration."""
    if (loaded := sys.modules.get("open_clip")) is not None:
        return dict(loaded.get_model_config(model)["text_cfg"])
    config = json.loads((_package() / "model_configs" / f"{model}.json").read_text(encoding="utf-8"))
    return dict(config["text_cfg"])


@lru_cache(maxsize=1)
def published_tags() -> Mapping[str, Mapping[str, Tag]]:
    """Return model → tag name → tag, equal to open_clip's own table (`open_clip.get_pretrained_cfg`)."""
    published: dict[str, dict[str, Tag]] = {}
    for model, name, hub, url, quick_gelu in asked("open_clip_torch", ask_open_clip):
        published.setdefault(model, {})[name] = Tag(name, hub, url, quick_gelu)
    return published


def ask_open_clip() -> list[tuple[str, str, str, str, bool]]:
    """Model, and the fields of the `Tag`, of all that open_clip publishes."""
    from open_clip import get_pretrained_cfg, list_pretrained

    found = [(model, name, get_pretrained_cfg(model, name)) for model, name in list_pretrained()]
    return [
        (model, name, cfg.get("hf_hub", ""), cfg.get("url", ""), cfg.get("quick_gelu", False))
        for model, name, cfg in found
    ]


def hub_names(file: str) -> tuple[str, ...]:
    """The names that open_clip looks for in a repository, in its order; ``file`` is the tag's own, or empty."""
    if not file:
        return "open_clip_model.safetensors", "open_clip_pytorch_model.bin"
    stem, dot, suffix = file.rpartition(".")
    return (f"{stem}.safetensors", file) if dot and suffix in ("bin", "pth") else (file,)


def companions(model: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Files that some models take from another repository of the hub: (repository, names of which one is needed)."""
    config = text_config(model)
    wanted = ((config.get("hf_tokenizer_name"), TOKENIZER_FILES), (config.get("hf_model_name"), ("config.json",)))
    return tuple((repository, files) for repository, files in wanted if repository)


def _package() -> Path:
    spec = find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise MissingWeights("open_clip is not installed; remedy: pip install open_clip_torch")
    return Path(spec.submodule_search_locations[0])
