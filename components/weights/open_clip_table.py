"""What open_clip publishes: models, pretrained tags, and the files of the hub that they are. Imports no torch.

open_clip's table of weights sits in a module whose import costs five seconds and 900 MB. A driver that only
wants to refuse a misspelt tag reads that table from the module's source instead; a test holds the two
equal.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from components.errors import GoodshotError, MissingWeights

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "sentencepiece.bpe.model")
COMPANIONS = (*TOKENIZER_FILES, "special_tokens_map.json", "spiece.model", "config.json")
"""What a tokenizer consists of, where the repository has it."""


@dataclass(frozen=True)
class Tag:
    """One published set of weights of a model: `hub` is "owner/repository/file" (the file may be empty)."""

    name: str
    hub: str = ""
    url: str = ""
    quick_gelu: bool = False


def model_names() -> tuple[str, ...]:
    """Return every model that open_clip has a configuration of, registered ones included."""
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
    tables: dict[str, dict[str, Tag]] = {}
    published: dict[str, dict[str, Tag]] = {}
    for node in ast.parse((_package() / "pretrained.py").read_text(encoding="utf-8")).body:
        if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)):
            continue
        if isinstance(node.value, ast.Call):
            tables[node.targets[0].id] = _read_table(node.value)
        elif node.targets[0].id == "_PRETRAINED" and isinstance(node.value, ast.Dict):
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                published[ast.literal_eval(key)] = _table_of(value, tables)  # type: ignore[arg-type]
    if not published:
        raise GoodshotError("open_clip's table of weights was not understood; install open_clip_torch 3.x")
    return published | _quick_gelu_models(published)


def hub_names(file: str) -> tuple[str, ...]:
    """The names that open_clip looks for in a repository, in its order; ``file`` is the tag's own, or empty."""
    if not file:
        return "open_clip_model.safetensors", "open_clip_pytorch_model.bin"
    stem, dot, suffix = file.rpartition(".")
    return (f"{stem}.safetensors", file) if dot and suffix in ("bin", "pth") else (file,)


def companions(model: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What some models take from another repository of the hub: (repository, names of which one is needed)."""
    config = text_config(model)
    wanted = ((config.get("hf_tokenizer_name"), TOKENIZER_FILES), (config.get("hf_model_name"), ("config.json",)))
    return tuple((repository, files) for repository, files in wanted if repository)


def _table_of(value: ast.expr, tables: Mapping[str, dict[str, Tag]]) -> dict[str, Tag]:
    return tables[value.id] if isinstance(value, ast.Name) else _read_table(value)


def _read_table(value: ast.expr) -> dict[str, Tag]:
    """Read `dict(tag=_pcfg(url=…, hf_hub=…), …)`."""
    keywords = value.keywords if isinstance(value, ast.Call) else []
    return {
        keyword.arg: _read_tag(keyword.arg, keyword.value)
        for keyword in keywords
        if keyword.arg and isinstance(keyword.value, ast.Call)
    }


def _read_tag(name: str, call: ast.Call) -> Tag:
    plain = {k.arg: k.value.value for k in call.keywords if isinstance(k.value, ast.Constant)}
    return Tag(
        name,
        str(plain.get("hf_hub", "")),
        str(plain.get("url", "")),
        bool(plain.get("quick_gelu", False)),
    )


def _quick_gelu_models(published: Mapping[str, Mapping[str, Tag]]) -> dict[str, dict[str, Tag]]:
    # open_clip lists the tags trained with QuickGELU a second time, under "<model>-quickgelu"
    chosen = {
        f"{model}-quickgelu": {name: tag for name, tag in tags.items() if tag.quick_gelu}
        for model, tags in published.items()
    }
    return {model: tags for model, tags in chosen.items() if tags}


def _package() -> Path:
    spec = find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise MissingWeights("open_clip is not installed; remedy: pip install open_clip_torch")
    return Path(spec.submodule_search_locations[0])
