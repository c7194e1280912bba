"""The locations of timm's pretrained weights, as timm itself states them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from goodshot.components.errors import BadInput
from goodshot.components.weights.asking import asked

SAFETENSORS, PICKLE = "model.safetensors", "pytorch_model.bin"


@dataclass(frozen=True)
class TimmEntry:
    """One published set of weights: ``hub`` is "owner/repository", ``file`` its file where it is not the usual one."""

    name: str
    hub: str = ""
    file: str = ""
    url: str = ""
    local: str = ""
    licence: str = ""

    @property
    def hub_files(self) -> tuple[str, ...]:
        """The names that timm looks for in the hub's repository, in its order."""
        if not self.file:
            return SAFETENSORS, PICKLE
        stem, _, suffix = self.file.rpartition(".")
        return (f"{stem}.safetensors", self.file) if suffix == "bin" else (self.file,)


@lru_cache(maxsize=64)
def timm_entry(name: str) -> TimmEntry:
    """The entry of the weights that ``timm.create_model(name, pretrained=True)`` loads.

    Args:
        name: an architecture ("wide_resnet50_2"), or one with a tag ("wide_resnet50_2.racm_in1k").

    Raises:
        BadInput: timm has no such network, or no such tag of it, or publishes no weights of it.
    """
    table = _table()
    architecture, _, tag = name.partition(".")
    architecture, _, current = (table["deprecated"].get(architecture) or architecture).partition(".")
    if architecture not in table["networks"]:
        near = difflib.get_close_matches(architecture, table["networks"], n=1)
        hint = f"did you mean {near[0]}?" if near else "see timm.list_models()"
        raise BadInput(f"backbone {name!r}: timm has no such network; {hint}")
    found = table["published"].get(".".join(filter(None, (architecture, tag or current))))
    if found is not None:
        return TimmEntry(*found)
    if not tag:
        raise BadInput(f"backbone {name}: timm publishes no weights of it; choose another one")
    tags = [full.partition(".")[2] for full in table["published"] if full.startswith(f"{architecture}.")]
    raise BadInput(
        f"backbone {name!r}: timm publishes no such weights of {architecture}; its tags: {', '.join(tags) or 'none'}"
    )


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    return dict(asked("timm", ask_timm))


def ask_timm() -> dict[str, Any]:
    """Timm's networks, the present names of the deprecated ones, and name → the fields of a `TimmEntry`.

    Weights have an entry under their full name, and the default ones of a network another under its name alone.
    """
    from timm.models import get_deprecated_models, get_pretrained_cfg, list_models

    networks = list_models()
    found = {name: get_pretrained_cfg(name) for name in (*networks, *list_models(include_tags=True))}
    published = {
        name: (
            ".".join(filter(None, (cfg.architecture, cfg.tag))),
            *(str(each or "") for each in (cfg.hf_hub_id, cfg.hf_hub_filename, cfg.url, cfg.file, cfg.license)),
        )
        for name, cfg in found.items()
        if cfg is not None and (cfg.hf_hub_id or cfg.url or cfg.file)
    }
    return {"networks": networks, "deprecated": get_deprecated_models(), "published": published}
