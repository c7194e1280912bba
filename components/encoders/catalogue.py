"""What open_clip publishes, and what of it is on this machine: names, tags, weight files. Imports no torch.

open_clip's table of weights sits in a module whose import costs five seconds and 900 MB. A driver that only
wants to refuse a misspelt tag reads that table from the module's source instead; a test holds the two
equal.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from components.errors import BadInput, GoodshotError, MissingWeights

PREFIX = "open_clip:"
RANDOM = "random"
_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "sentencepiece.bpe.model")


@dataclass(frozen=True)
class Tag:
    """One published set of weights of a model: `hub` is "owner/repository/file" (the file may be empty)."""

    name: str
    hub: str = ""
    url: str = ""
    quick_gelu: bool = False


@dataclass(frozen=True)
class OpenClipName:
    """A parsed "open_clip:<model>:<weights>": a tag, or a local file, or neither (random weights)."""

    name: str
    model: str
    tag: Tag | None = None
    file: Path | None = None

    def weights(self) -> Path:
        """Return the local weight file; raises `MissingWeights`, saying where it was looked for."""
        path = self._weight_file()
        _check_text_files(self.name, self.model)
        return path

    def _weight_file(self) -> Path:
        if self.tag is not None:
            return _cached_weights(self.name, self.tag)
        if self.file is None:
            raise BadInput(f"encoder {self.name} has no weight file: its weights are random")
        if not self.file.is_file():
            raise MissingWeights(f"encoder {self.name}: no weight file {self.file}; remedy: correct the path")
        return self.file


def parse(name: str, allow_random: bool = False) -> OpenClipName:
    """Return the parts of "open_clip:<model>:<tag or file>".

    Raises `BadInput` for another shape, a model or tag that open_clip does not know (with the nearest
    names), and for random weights unless `allow_random`.
    """
    model, _, weights = name.removeprefix(PREFIX).partition(":")
    if not model or not weights:
        raise BadInput(f"encoder {name!r} must read open_clip:<model>:<pretrained tag or weight file>")
    _check_known("open_clip model", model, model_names())
    if weights == RANDOM:
        if not allow_random:
            raise BadInput(f"encoder {name}: a study refuses random weights; name a pretrained tag or a file")
        return OpenClipName(name, model)
    tag = published_tags().get(model, {}).get(weights.lower().replace("-", "_"))
    if tag is None and weights.endswith(_WEIGHT_SUFFIXES):
        return OpenClipName(name, model, file=Path(weights).expanduser())
    if tag is None:
        _check_known(f"pretrained tag of {model}", weights, published_tags().get(model, {}))
    return OpenClipName(name, model, tag=tag)


def _check_known(what: str, given: str, known: Iterable[str]) -> None:
    names = list(known)
    if given not in names:
        nearest = get_close_matches(given, names, n=5, cutoff=0.3) or sorted(names)[:5]
        raise BadInput(f"unknown {what} {given!r}; nearest: {', '.join(nearest) or 'none is published'}")


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


def _cached_weights(name: str, tag: Tag) -> Path:
    """Return the file that open_clip would load for `tag`, from the local caches only."""
    repository, _, file = tag.hub.rpartition("/")
    looked = _candidates(file) if tag.hub else (tag.url.rpartition("/")[2],)
    place = f"the hub cache {_hub_cache()}" if tag.hub else str(_url_cache())
    for candidate in looked:
        found = _hub_file(repository, candidate) if tag.hub else _url_cache() / candidate
        if found is not None and found.is_file():
            return found
    source = f"{looked[-1]} of {repository}" if tag.hub else tag.url
    raise MissingWeights(
        f"encoder {name}: its weights ({source}) are not in {place}; "
        "remedy: goodshot fetch them on a machine with a network, or name a local weight file"
    )


def _candidates(file: str) -> tuple[str, ...]:
    # open_clip looks for a safetensors twin first
    if not file:
        return "open_clip_model.safetensors", "open_clip_pytorch_model.bin"
    stem, dot, suffix = file.rpartition(".")
    return (f"{stem}.safetensors", file) if dot and suffix in ("bin", "pth") else (file,)


def _check_text_files(name: str, model: str) -> None:
    """Some models take their tokenizer or text configuration from another hub repository."""
    config = text_config(model)
    wanted = {
        config.get("hf_tokenizer_name"): _TOKENIZER_FILES,
        config.get("hf_model_name"): ("config.json",),
    }
    for repository, files in wanted.items():
        if repository and not any(_hub_file(repository, file) for file in files):
            raise MissingWeights(
                f"encoder {name}: {files[0]} of {repository} is not in the hub cache {_hub_cache()}; "
                "remedy: goodshot fetch it on a machine with a network"
            )


def _hub_file(repository: str, file: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, file)
    return Path(found) if isinstance(found, str) else None


def _hub_cache() -> str:
    from huggingface_hub import constants

    return str(constants.HF_HUB_CACHE)


def _url_cache() -> Path:
    return Path.home() / ".cache" / "clip"
