"""A study from a YAML file, and ``--set key=value`` on top of any study: a mistake is one line with its remedy."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from components.errors import BadInput
from runner.declaration.search import Range
from runner.study.presets import filled, preset_fields
from runner.study.problems import Place, first_problem, misplaced_boolean, no_such_place
from runner.study.study import Study

NOT_YAML = (yaml.YAMLError, ValueError)
"""A text of no known encoding, a date in month 13 and a number of 5,000 digits are plain ValueErrors."""
SPACE = "search.space."
A_DETECTORS_OWN = ("name", "preset", "alias")
"""Of a detector, what its name and its preset leave as it is."""


def is_file(name: str) -> bool:
    """Whether a study is named by its file."""
    return name.endswith((".yaml", ".yml"))


def read_study(path: str, settings: Iterable[str] = ()) -> Study:
    """The study of a YAML file, with ``key=value`` settings applied.

    Raises:
        BadInput: no such file, a key that does not exist, or a value that is not allowed.
    """
    return _with(filled(_read_yaml(Path(path))), path, settings)


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
    """Plain values → a Study, or :class:`BadInput` with the first problem's path and what is allowed."""
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
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise BadInput(f"study {path}: cannot be read ({error.strerror}); give a YAML file or a study's name") from None
    except NOT_YAML as error:
        problem = " ".join(str(error).split())
        raise BadInput(f"study {path}: not YAML ({problem})") from None
    if not isinstance(values, dict):
        raise BadInput(f"study {path}: holds no mapping of fields; start with 'name: my_study'")
    return values


def _order(setting: str) -> tuple[bool, int, bool]:
    """What decides other fields comes before those, so that a field that is set wins in any order."""
    parts = _path(setting)
    return parts != ["preset"], len(parts), parts[-1] not in A_DETECTORS_OWN


def _path(setting: str) -> list[str]:
    key = setting.partition("=")[0]
    if not key.startswith(SPACE):
        return key.split(".")
    # The names there are paths themselves: search.space.generator.commitment, and its .low.
    field, _, end = (name := key.removeprefix(SPACE)).rpartition(".")
    return [*SPACE.strip(".").split("."), *((field, end) if field and end in Range.model_fields else (name,))]


def _apply(values: dict[str, Any], setting: str) -> None:
    key, separator, text = setting.partition("=")
    if not separator or not key:
        raise BadInput("write it as key=value, for example --set copies=10")
    try:
        value = yaml.safe_load(text) if text else None
    except NOT_YAML:
        raise BadInput("the value is not YAML; quote it") from None
    _put(values, Place.of(Study), [], _path(setting), value)
    _make_way(values, _path(setting))


def _put(holder: Any, place: Place, path: list[str], parts: list[str], value: Any) -> None:
    """Put the value below what the path led to: at the next of its parts, or deeper."""
    part, *deeper = parts
    below = place.below(part)
    if below is None:
        raise BadInput(no_such_place(place, path, part))
    at: Any = int(part) if isinstance(holder, list) else part
    if isinstance(holder, list) and at >= len(holder):
        raise BadInput(f"{'.'.join(path)} has no entry {part}; it has {len(holder)}, counted from 0")
    if not deeper:
        holder[at] = value
        return
    given = holder[at] if isinstance(holder, list) else holder.get(at)
    path = [*path, part]
    holder[at] = _opened(given, below, deeper[0], ".".join(path))
    _put(holder[at], below, path, deeper, value)


def _opened(given: Any, place: Place, part: str, where: str) -> Any:
    """What is given at a place, as the mapping or list that a path can go into, to that part of it."""
    if place.is_list and (part.isdecimal() or not place.fields):
        given = copy.deepcopy(place.schema.get("default", [])) if given is None else given
        return [*given] if isinstance(given, list | tuple) else [given]
    if given is not None and not isinstance(given, dict):
        raise BadInput(f"{where} is {given!r}, which has no fields of its own; it can be {place.words()}")
    return given or {}


def _make_way(values: dict[str, Any], parts: list[str]) -> None:
    """A declared study has a value for every field; a preset or a detector's name replaces those that it decides."""
    if parts == ["preset"]:
        values.update(preset_fields(values["preset"]))
    if parts[0] == "detectors" and parts[2:] in (["name"], ["preset"]):
        entry = values["detectors"][int(parts[1])]
        values["detectors"][int(parts[1])] = {name: entry[name] for name in A_DETECTORS_OWN if name in entry}
