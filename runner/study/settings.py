"""A study from a YAML file, and ``--set key=value`` for any study; each mistake gives one line with its remedy."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from goodshot.components.errors import BadInput
from goodshot.runner.study.presets import fill_study_fields, preset_fields
from goodshot.runner.study.problems import SchemaNode, first_problem, misplaced_boolean, no_such_field
from goodshot.runner.study.study import Study

NOT_YAML = (yaml.YAMLError, ValueError)
"""Errors of YAML text; an unknown encoding, a month 13 and a number of 5,000 digits raise plain ValueErrors."""
_PART = r"""(?:"[^"]+"|'[^']+'|[^.=]*)"""
_SETTING = re.compile(rf"({_PART}(?:\.{_PART})*)=(.*)", re.DOTALL)
"""A dotted path, whose parts may be quoted, and a value."""
ASKED = ("variance", "detail", "post_augment", "prompt_kind", "select", "iterations")
"""The fields of presets that take several values, which a study varies to compare them."""
KEPT_DETECTOR_FIELDS = ("name", "preset", "alias")
"""The fields of a detector that a change of its name or preset does not reset."""


class _Loader(yaml.SafeLoader):
    """YAML in which a key stands once in a mapping, and a number with a leading zero, such as BTAD's 01, is text."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        """Compose a mapping; checked here, because merging another one into it adds keys that it overrides."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value} stands twice", key.start_mark)
            seen.update({name} - {None})
        return node


_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0b[01_]+|0x[0-9a-fA-F_]+)$")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, _INT if tag == "tag:yaml.org,2002:int" else pattern) for tag, pattern in resolvers]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(text: str) -> Any:
    """The values of a YAML text. Raises one of :data:`NOT_YAML` if it is not YAML, or a key stands twice."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except (TypeError, KeyError, AttributeError) as error:  # of tags such as !!map and !!bool on other values
        raise yaml.YAMLError(f"a value does not fit its tag: {error}") from None


def is_file(name: str) -> bool:
    """Whether ``name`` is the path of a study's file."""
    return name.endswith((".yaml", ".yml"))


def read_study(path: str, settings: Iterable[str] = ()) -> Study:
    """The study of a YAML file, with ``key=value`` settings applied.

    Raises:
        BadInput: no such file, a key that does not exist, or a value that is not allowed.
    """
    return _with(fill_study_fields(_read_yaml(Path(path))), path, settings)


def changed(study: Study, settings: Iterable[str]) -> Study:
    """A study with ``key=value`` settings applied. Raises :class:`BadInput` as :func:`read_study` does."""
    return _with(study.model_dump(mode="json"), study.name, settings)


def _with(values: dict[str, Any], name: str, settings: Iterable[str]) -> Study:
    for setting in sorted(settings, key=_order):
        try:
            _apply(values, setting)
        except BadInput as error:
            raise BadInput(" ".join(f"--set {setting}: {error}".splitlines())) from None
    return validate(values, name)


def validate(values: dict[str, Any], name: str) -> Study:
    """Plain values → a Study. Raises :class:`BadInput` with the first problem's path and the allowed values."""
    if (problem := misplaced_boolean(Study, values)) is not None:
        raise BadInput(f"study {name}: {problem}")
    try:
        return Study.model_validate(values)
    except ValidationError as error:
        raise BadInput(f"study {name}: {first_problem(Study, error)}") from None


def to_yaml(study: Study) -> str:
    """The study as YAML; :func:`read_study` reads it back to an equal study."""
    return yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = read_yaml(path.read_text())
    except OSError as error:
        raise BadInput(f"study {path}: cannot be read ({error.strerror}); give a YAML file or a study's name") from None
    except NOT_YAML as error:
        problem = " ".join(str(error).split())
        raise BadInput(f"study {path}: not YAML ({problem})") from None
    if not isinstance(values, dict):
        raise BadInput(f"study {path}: holds no mapping of fields; start with 'name: my_study'")
    return {key: value for key, value in values.items() if not str(key).startswith(("x-", "."))}


def _order(setting: str) -> tuple[bool, int, bool]:
    """Sort key: settings that decide other fields come first, so that an explicit field wins in any order."""
    parts, _ = _split(setting)
    return parts != ["preset"], len(parts), parts[-1] not in KEPT_DETECTOR_FIELDS


def _split(setting: str) -> tuple[list[str], str | None]:
    """The parts of a setting's path without quotes, and the text of its value; None if it has none."""
    found = _SETTING.fullmatch(setting)
    if found is None:
        return setting.split("."), None
    parts = re.findall(rf"(?:^|\.)({_PART})(?=\.|$)", found[1])
    return [part[1:-1] if part[:1] in ("'", '"') and part[-1:] == part[:1] else part for part in parts], found[2]


def _apply(values: dict[str, Any], setting: str) -> None:
    parts, text = _split(setting)
    if text is None or parts == [""]:
        raise BadInput("write it as key=value, for example --set copies=10")
    try:
        value = read_yaml(text) if text else None
    except NOT_YAML:
        raise BadInput("the value is not YAML; quote it") from None
    _put(values, SchemaNode.of(Study), [], parts, value)
    _reset_decided(values, parts)


def _put(holder: Any, node: SchemaNode, path: list[str], parts: list[str], value: Any) -> None:
    """Set the value in ``holder`` at the path ``parts``; ``path`` leads from the study to ``holder``."""
    part, *deeper = _with_whole_name(holder, node, parts)
    child = node.child(part)
    if child is None:
        raise BadInput(no_such_field(node, path, part))
    at: Any = int(part) if isinstance(holder, list) else part
    if isinstance(holder, list) and at >= len(holder):
        raise BadInput(f"{'.'.join(path)} has no entry {part}; it has {len(holder)}, counted from 0")
    if not deeper:
        holder[at] = value
        return
    given = holder[at] if isinstance(holder, list) else holder.get(at)
    path = [*path, part]
    holder[at] = _opened(given, child, deeper[0], ".".join(path))
    _put(holder[at], child, path, deeper, value)


def _with_whole_name(holder: Any, node: SchemaNode, parts: list[str]) -> list[str]:
    """The parts, joined where ``node`` is a mapping of names: categories, and the paths of ``search.space``, have dots.

    Only a field of the name's value, such as ``low`` of a range, or the number of an entry of its list remain apart.
    """
    if node.named is None or len(parts) < 2:
        return parts
    *first, last = parts
    name = ".".join(first)
    is_entry = node.named.is_list and last.isdecimal() and name in holder
    return [name, last] if is_entry or last in node.named.fields else [f"{name}.{last}"]


def _opened(given: Any, node: SchemaNode, part: str, where: str) -> Any:
    """The value given at a node as the mapping or list that contains ``part``."""
    if node.is_list and (part.isdecimal() or not node.fields):
        given = copy.deepcopy(node.schema.get("default", [])) if given is None else given
        return [*given] if isinstance(given, list | tuple) else [given]
    if given is not None and not isinstance(given, dict):
        raise BadInput(f"{where} is {given!r}, which has no fields of its own; it can be {node.allowed()}")
    return given or {}


def _reset_decided(values: dict[str, Any], parts: list[str]) -> None:
    """Reset the fields that a changed preset or detector name decides: a declared study has a value for every field.

    A field of several values is what the study asks about, so a changed preset leaves it; detectors are replaced.
    """
    if parts == ["preset"]:
        asked = {name for name in ASKED if isinstance(values.get(name), list) and len(values[name]) > 1}
        values.update({name: v for name, v in preset_fields(values["preset"]).items() if name not in asked})
    if parts[0] == "detectors" and parts[2:] in (["name"], ["preset"]):
        entry = values["detectors"][int(parts[1])]
        values["detectors"][int(parts[1])] = {name: entry[name] for name in KEPT_DETECTOR_FIELDS if name in entry}
