"""Where timm's pretrained weights are published, read from timm's source: importing timm costs five seconds.

A study that names a network whose weights are not here has to fail at once. A test holds this table equal to timm's own
for every network; what cannot be read without running timm's code is asked of timm itself.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from components.errors import BadInput, MissingWeights

SAFETENSORS, PICKLE = "model.safetensors", "pytorch_model.bin"
_REGISTERED = re.compile(r"^@register_model[^\n]*\n(?:@[^\n]*\n)*def (\w+)\(", re.MULTILINE)
_DEPRECATED = re.compile(r"^register_model_deprecations\(__name__, (\{.*?^\})\)", re.MULTILINE | re.DOTALL)


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
    def published(self) -> bool:
        """Whether there are any."""
        return bool(self.hub or self.url or self.local)

    @property
    def hub_files(self) -> tuple[str, ...]:
        """The names that timm looks for in the hub's repository, in its order."""
        if not self.file:
            return SAFETENSORS, PICKLE
        stem, _, suffix = self.file.rpartition(".")
        return (f"{stem}.safetensors", self.file) if suffix == "bin" else (self.file,)


@lru_cache(maxsize=64)
def timm_entry(name: str) -> TimmEntry:
    """What ``timm.create_model(name, pretrained=True)`` loads.

    Args:
        name: an architecture ("wide_resnet50_2"), or one with a tag ("wide_resnet50_2.racm_in1k").

    Raises:
        BadInput: timm has no such network, or no such tag of it, or publishes no weights of it.
    """
    if name.startswith(_MEASURED_BY_TIMM):
        return _published(_ask_timm(name), name)
    architecture, _, tag = name.partition(".")
    architecture, _, current = _deprecated().get(architecture, architecture).partition(".")
    if (module := _modules().get(architecture)) is None:
        near = difflib.get_close_matches(architecture, _modules(), n=1)
        hint = f"did you mean {near[0]}?" if near else "see timm.list_models()"
        raise BadInput(f"backbone {name!r}: timm has no such network; {hint}")
    entries = _entries(module).get(architecture)
    found = entries.get(tag or current) if entries and (tag or current) else next(iter((entries or {}).values()), None)
    if found is None:
        found = _ask_timm(name)
    if found is None:
        tags = ", ".join(filter(None, entries or ())) or "none"
        raise BadInput(f"backbone {name!r}: timm publishes no such weights of {architecture}; its tags: {tags}")
    return _published(found, name)


_MEASURED_BY_TIMM = ("hf-hub:", "hf_hub:", "local-dir:")


def _published(entry: TimmEntry | None, name: str) -> TimmEntry:
    if entry is None or not entry.published:
        raise BadInput(f"backbone {name}: timm publishes no weights of it; choose another one")
    return entry


def _ask_timm(name: str) -> TimmEntry | None:
    """timm's own answer, for a table that is computed when it is imported."""
    from timm.models import get_pretrained_cfg

    try:
        found = get_pretrained_cfg(name, allow_unregistered=False)
    except (RuntimeError, ValueError):
        return None
    if found is None:
        return None
    full = ".".join(filter(None, (found.architecture, found.tag)))
    return TimmEntry(
        full,
        found.hf_hub_id or "",
        found.hf_hub_filename or "",
        found.url or "",
        str(found.file or ""),
        found.license or "",
    )


def _package() -> Path:
    spec = find_spec("timm")
    if spec is None or not spec.submodule_search_locations:
        raise MissingWeights("timm is not installed; remedy: pip install timm")
    return Path(spec.submodule_search_locations[0]) / "models"


@lru_cache(maxsize=1)
def _sources() -> Mapping[Path, str]:
    return {path: path.read_text(encoding="utf-8") for path in sorted(_package().glob("*.py"))}


@lru_cache(maxsize=1)
def _modules() -> Mapping[str, Path]:
    """Architecture → the module that registers it."""
    return {name: path for path, source in _sources().items() for name in _REGISTERED.findall(source)}


@lru_cache(maxsize=1)
def _deprecated() -> Mapping[str, str]:
    """Old name → "architecture.tag" of today."""
    found: dict[str, str] = {}
    for source in _sources().values():
        for table in _DEPRECATED.findall(source):
            for key, value in _pairs(ast.parse(table, mode="eval").body):
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    found[key] = value.value
    return found


def _pairs(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield key.value, value


@lru_cache(maxsize=8)
def _entries(module: Path) -> Mapping[str, dict[str, TimmEntry]]:
    """Architecture → tag → entry, the default first, as ``timm.models._registry.generate_default_cfgs`` orders them."""
    tree = ast.parse(_sources()[module])
    tables = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Dict)
    }
    helpers = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    ordered: dict[str, deque[str]] = {}
    found: dict[str, dict[str, TimmEntry]] = {}
    decided: set[str] = set()
    for table in _given(tree, tables):
        for key, value in _pairs(table):
            architecture, _, tag = key.partition(".")
            starred, tag = tag.endswith("*"), tag.strip("*")
            entry = _entry(".".join(filter(None, (architecture, tag))), value, helpers)
            tags, known = ordered.setdefault(architecture, deque()), found.setdefault(architecture, {})
            first = (entry.published and not tag) or (starred and architecture not in decided)
            if first:
                decided.add(architecture)
            has_one = any(other.published for other in known.values())
            (tags.appendleft if first or (entry.published and not has_one) else tags.append)(tag)
            known[tag] = entry
    return {name: {tag: found[name][tag] for tag in tags} for name, tags in ordered.items()}


def _given(tree: ast.Module, tables: Mapping[str, ast.expr]) -> Iterator[ast.expr]:
    """What the module hands to ``generate_default_cfgs``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "generate_default_cfgs" and node.args:
            argument = node.args[0]
            yield tables.get(argument.id, argument) if isinstance(argument, ast.Name) else argument


def _entry(name: str, value: ast.expr, helpers: Mapping[str, ast.FunctionDef]) -> TimmEntry:
    plain = _plain(value, helpers)
    hub = str(plain.get("hf_hub_id") or "")
    return TimmEntry(
        name,
        f"timm/{name}" if hub == "timm/" else hub,
        str(plain.get("hf_hub_filename") or ""),
        str(plain.get("url") or ""),
        str(plain.get("file") or ""),
        str(plain.get("license") or ""),
    )


def _plain(value: ast.expr, helpers: Mapping[str, ast.FunctionDef]) -> dict[str, Any]:
    """The constants of a dictionary, or of a call of the module's own helper that makes one."""
    if isinstance(value, ast.Dict):
        return {key: v.value for key, v in _pairs(value) if isinstance(v, ast.Constant)}
    if not isinstance(value, ast.Call):
        return {}
    given = {k.arg: k.value.value for k in value.keywords if k.arg and isinstance(k.value, ast.Constant)}
    helper = helpers.get(getattr(value.func, "id", ""))
    if helper is None:
        return given
    names = [argument.arg for argument in helper.args.args]
    given |= {n: v.value for n, v in zip(names, value.args, strict=False) if isinstance(v, ast.Constant)}
    defaults = zip(reversed(names), reversed(helper.args.defaults), strict=False)
    own = {n: v.value for n, v in defaults if isinstance(v, ast.Constant)}
    made: dict[str, Any] = {}
    for node in ast.walk(helper):
        if isinstance(node, ast.Return) and node.value is not None:
            made = _plain(node.value, helpers)
    return {**made, **own, **given}
