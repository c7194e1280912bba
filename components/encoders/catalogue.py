"""The names of open_clip encoders: a model with a published tag, a local file, or a local folder. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from goodshot.components.errors import BadInput, MissingWeights
from goodshot.components.weights import require
from goodshot.components.weights.open_clip_table import (
    COMPANIONS,
    TOKENIZER_FILES,
    Tag,
    companions,
    hub_names,
    model_names,
    published_tags,
)

PREFIX = "open_clip:"
RANDOM = "random"
FOLDER_MODEL = "local-dir"
"""In place of a model's name: the folder's own configuration names the model (open_clip's term)."""
FOLDER_CONFIG = "open_clip_config.json"
_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
_IN_FOLDER = (*hub_names(""), "open_clip_pytorch_model.safetensors", "model.safetensors")
_RUNS_CODE = "trust_remote_code"


@dataclass(frozen=True)
class OpenClipName:
    """A parsed "open_clip:<model>:<weights>": a tag, or a local file or folder, or neither (random weights)."""

    name: str
    model: str
    tag: Tag | None = None
    file: Path | None = None
    folder: Path | None = None

    def weights(self) -> Path:
        """Return the local weight file; raises `MissingWeights` with the searched location."""
        if self.tag is not None:
            return require(self.name, "encoder")
        if self.folder is not None:
            return self._in_folder(self.folder)
        if self.file is None:
            raise BadInput(f"encoder {self.name} has no weight file: its weights are random")
        if not self.file.is_file():
            raise MissingWeights(f"encoder {self.name}: no weight file {self.file}; remedy: correct the path")
        self._check_companions()
        return self.file

    def folder_config(self) -> dict[str, Any]:
        """The folder's ``open_clip_config.json``; empty if there is none. Raises `BadInput` for a damaged one."""
        if self.folder is None:
            return {}
        path = self.folder / FOLDER_CONFIG
        if not path.is_file():
            if self.model == FOLDER_MODEL:
                raise BadInput(f"encoder {self.name}: {path} is not there; name the model in place of {FOLDER_MODEL}")
            return {}
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise BadInput(f"encoder {self.name}: {path} is not JSON ({error}); write it again") from None
        if not isinstance(config, dict) or (self.model == FOLDER_MODEL and "model_cfg" not in config):
            raise BadInput(f"encoder {self.name}: {path} names no model_cfg; it is not open_clip's")
        if _RUNS_CODE in path.read_text(encoding="utf-8"):
            raise BadInput(f"encoder {self.name}: {path} asks for code of its own ({_RUNS_CODE}), which is not run")
        return config

    def tokenizer_files(self) -> tuple[Path, ...]:
        """The folder's files for its own tokenizer; empty if open_clip's tokenizer is used."""
        if self.folder is None or self.model != FOLDER_MODEL:
            return ()
        if not self.folder_config()["model_cfg"].get("text_cfg", {}).get("hf_tokenizer_name"):
            return ()
        found = tuple(self.folder / name for name in COMPANIONS if (self.folder / name).is_file())
        if not any(path.name in TOKENIZER_FILES for path in found):
            raise MissingWeights(
                f"encoder {self.name}: {self.folder} holds no tokenizer ({', '.join(TOKENIZER_FILES)}), which its "
                "configuration asks for; remedy: put it there"
            )
        return found

    def _in_folder(self, folder: Path) -> Path:
        self.folder_config()
        self.tokenizer_files()
        if self.model != FOLDER_MODEL:
            self._check_companions()
        for name in _IN_FOLDER:
            if (folder / name).is_file():
                return folder / name
        raise MissingWeights(
            f"encoder {self.name}: {folder} holds none of {', '.join(_IN_FOLDER)}; remedy: put one there"
        )

    def _check_companions(self) -> None:
        """Check the files of models with a tokenizer or text configuration from another repository of the hub."""
        from goodshot.components.weights.files import OnHub

        for repository, files in companions(self.model):
            needed = OnHub(repository, files)
            if needed.find() is None:
                remedy = f"goodshot fetch a published tag of {self.model}"
                raise MissingWeights(f"encoder {self.name}: no {needed.describe()}; remedy: {remedy}")


def parse(name: str, allow_random: bool = False) -> OpenClipName:
    """Return the parts of "open_clip:<model>:<tag, file or folder>".

    Raises `BadInput` for another form, a model or tag that open_clip does not have (with the nearest
    names), and for random weights unless `allow_random`.
    """
    model, _, weights = name.removeprefix(PREFIX).partition(":")
    if not model or not weights:
        raise BadInput(f"encoder {name!r} must read open_clip:<model>:<pretrained tag, weight file or folder>")
    if model == FOLDER_MODEL:
        return OpenClipName(name, model, folder=_path(weights))
    _check_known("open_clip model", model, model_names())
    if weights == RANDOM:
        if not allow_random:
            raise BadInput(f"encoder {name}: a study refuses random weights; name a pretrained tag or a file")
        return OpenClipName(name, model)
    tag = published_tags().get(model, {}).get(weights.lower().replace("-", "_"))
    if tag is not None:
        return OpenClipName(name, model, tag=tag)
    path = _path(weights)
    if path.is_dir():
        return OpenClipName(name, model, folder=path)
    if weights.endswith(_WEIGHT_SUFFIXES):
        return OpenClipName(name, model, file=path)
    if "/" in weights or weights.startswith("~"):
        raise BadInput(f"encoder {name}: no weight file or folder {path}; remedy: correct the path")
    _check_known(f"pretrained tag of {model}", weights, published_tags().get(model, {}))
    raise BadInput(f"encoder {name!r}: {weights} is no tag, file or folder")


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # no such user
        return Path(text)


def _check_known(what: str, given: str, known: Iterable[str]) -> None:
    names = list(known)
    if given not in names:
        nearest = get_close_matches(given, names, n=5, cutoff=0.3) or sorted(names)[:5]
        raise BadInput(f"unknown {what} {given!r}; nearest: {', '.join(nearest) or 'none is published'}")
