"""What is wrong with a study, in one line: the field's path, what is allowed there, and what was given.

What is allowed is read from the JSON schema that pydantic makes of the study, so a field says it once, in its type,
and a field that is added tomorrow needs nothing here.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

NUMBERS = {"integer": "a whole number", "number": "a number"}
BOUNDS = {
    **dict.fromkeys(("minimum", "minLength", "minItems"), "of at least"),
    "exclusiveMinimum": "above",
    **dict.fromkeys(("maximum", "maxLength", "maxItems"), "at most"),
    "exclusiveMaximum": "below",
    "multipleOf": "in steps of",
}
"""A schema's word for a bound, and ours. pydantic writes ``minLength`` of a list too that is made of a single value."""
UNKNOWN_NAME = ("extra_forbidden", "invalid_key")
KEY = "[key]"
"""Ends pydantic's path to a mapping's key that is wrong, not its value."""
PLAIN = (str, int, float, list, tuple, dict)
SHOWN = 80
"""Characters of a wrong value that are repeated to the user."""


@dataclass(frozen=True)
class Place:
    """One place in a study, and what may stand there."""

    schema: Mapping[str, Any]
    definitions: Mapping[str, Any]

    @classmethod
    @lru_cache
    def of(cls, model: type[BaseModel]) -> Place:
        """The outermost place: the model's own fields."""
        schema = model.model_json_schema()
        return cls(schema, schema.get("$defs", {}))

    @property
    def fields(self) -> dict[str, Any]:
        """The fields that have a place of their own below this one, by name."""
        return {name: below for branch in self._branches() for name, below in branch.get("properties", {}).items()}

    @property
    def is_list(self) -> bool:
        """Whether the places below this one have numbers."""
        return any(branch.get("type") == "array" for branch in self._branches())

    @property
    def is_number(self) -> bool:
        """Whether a number may stand here, but neither true nor false."""
        kinds = {branch.get("type") for branch in self._branches()}
        return bool(kinds & {*NUMBERS}) and "boolean" not in kinds

    def below(self, part: str | int) -> Place | None:
        """The place of that name or number below this one; None if there is none."""
        found = (_below(branch, part) for branch in self._branches())
        return next((Place(schema, self.definitions) for schema in found if schema is not None), None)

    def words(self) -> str:
        """What may stand here: ``a whole number of at least 1, or 'full'``."""
        branches = self._branches()
        choices = [choice for branch in branches for choice in _choices(branch)]
        kinds = [self._kind(branch) for branch in branches if not _choices(branch)]
        return ", or ".join([*kinds, *([_either(choices)] if choices else [])])

    def _branches(self) -> list[Mapping[str, Any]]:
        """The alternatives of a union, else the schema itself; references are followed."""
        if "$ref" in self.schema:
            return Place(self.definitions[self.schema["$ref"].rpartition("/")[2]], self.definitions)._branches()
        union = self.schema.get("anyOf") or self.schema.get("oneOf")
        if union is None:
            return [self.schema]
        return [branch for schema in union for branch in Place(schema, self.definitions)._branches()]

    def _kind(self, branch: Mapping[str, Any]) -> str:
        match branch.get("type"):
            case "array":
                return self._list(branch)
            case "object" if "properties" in branch:
                return f"a mapping with any of {', '.join(branch['properties'])}"
            case "object":
                return f"a mapping of names to {self._words_of(branch.get('additionalProperties'))}"
            case "string" if "pattern" in branch:
                # A pattern says nothing to a reader: its field describes it.
                return str(branch.get("description", f"text like {branch['pattern']}"))
            case "string":
                return f"{bounded} characters" if (bounded := _bounded("text", branch)) != "text" else "text"
            case "boolean":
                return "true or false"
            case "integer" | "number" as kind:
                return _bounded(NUMBERS[kind], branch)
        return "anything"

    def _list(self, branch: Mapping[str, Any]) -> str:
        if each := branch.get("prefixItems"):
            return f"a list of {len(each)}: {', '.join(map(self._words_of, each))}"
        return f"{_bounded('a list', branch)}, each {self._words_of(branch.get('items'))}"

    def _words_of(self, schema: Any) -> str:
        return Place(schema if isinstance(schema, dict) else {}, self.definitions).words()


def first_problem(model: type[BaseModel], error: ValidationError) -> str:
    """The first thing that is wrong with the values of a ``model``, as one line."""
    return " ".join(_line(Place.of(model), error.errors()[0]).splitlines())


def misplaced_boolean(model: type[BaseModel], values: Mapping[str, Any]) -> str | None:
    """The first true or false where a number has to be, as one line: pydantic takes them for 1 and 0."""
    return _boolean(Place.of(model), values, "")


def _boolean(place: Place, given: Any, path: str) -> str | None:
    if isinstance(given, bool):
        # A list may be given by its only entry.
        is_number = any(each.is_number for each in (place, place.below(0)) if each is not None)
        return f"{path[:-1]}: must be {place.words()} (given: {given})" if is_number else None
    if isinstance(given, Mapping) and place.is_list and not place.fields and (only := place.below(0)) is not None:
        return _boolean(only, given, f"{path}0.")
    entries = given.items() if isinstance(given, Mapping) else enumerate(given) if isinstance(given, list) else ()
    found = (_boolean(below, value, f"{path}{name}.") for name, value in entries if (below := place.below(name)))
    return next((problem for problem in found if problem is not None), None)


def no_such_place(place: Place, path: Sequence[str], part: str) -> str:
    """Why there is nothing called ``part`` below the place at ``path``."""
    where = ".".join(path)
    if place.fields:
        return f"{part!r} is no field of {where or 'a study'}; {did_you_mean(part, place.fields)}"
    if place.is_list:
        return f"{where} is a list; name an entry by its number: {where}.0 is the first"
    return f"{where!r} has no fields of its own; it is {place.words()}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A remedy for a word that is not among the known ones: the nearest of them, or all."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"


def _line(study: Place, problem: ErrorDetails) -> str:
    names = [part for part in problem["loc"] if part != KEY]
    unknown = names.pop() if problem["type"] in UNKNOWN_NAME else None
    place, path = study, ""
    for name in names:
        # A name that leads nowhere is pydantic's own, of a union's branch.
        if below := place.below(name):
            place, path = below, f"{path}{name}."
    if unknown is not None:
        return f"{path}{unknown}: no such field; {did_you_mean(str(unknown), place.fields)}"
    return f"{path[:-1]}: {_message(place, problem)}" if path else _message(place, problem)


def _message(place: Place, problem: ErrorDetails) -> str:
    if problem["type"] == "value_error":
        return problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"has to be given: {place.words()}"
    given = _shown(problem["input"])
    if KEY in problem["loc"]:
        return f"a name must be text; put it in quotes (given: {given})"
    number = problem["input"]
    finite = ", and finite" if isinstance(number, float) and not math.isfinite(number) else ""
    return f"must be {place.words()}{finite} (given: {given})"


def _shown(given: Any) -> str:
    """What was given as a YAML file would have it: a date, for one, is no Python call."""
    text = "null" if given is None else repr(given) if isinstance(given, PLAIN) else str(given)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _below(branch: Mapping[str, Any], part: str | int) -> Any:
    """The schema of that name or number below a schema; None if there is none."""
    if branch.get("type") == "array":
        each = dict(enumerate(branch.get("prefixItems", [])))
        return each.get(int(part), branch.get("items", {})) if str(part).isdecimal() else None
    if part in branch.get("properties", {}):
        return branch["properties"][part]
    if _is_anything(branch) or branch.get("additionalProperties") is True:
        return {}
    return branch.get("additionalProperties") or None


def _is_anything(branch: Mapping[str, Any]) -> bool:
    return not {"type", "enum", "const"} & branch.keys()


def _bounded(noun: str, branch: Mapping[str, Any]) -> str:
    bounds = [f"{word} {branch[bound]}" for bound, word in BOUNDS.items() if bound in branch]
    return " ".join([noun, " and ".join(bounds)]) if bounds else noun


def _choices(branch: Mapping[str, Any]) -> list[str]:
    if branch.get("type") == "null":
        return ["null"]
    return [repr(choice) for choice in branch.get("enum", [branch["const"]] if "const" in branch else [])]


def _either(choices: Sequence[str]) -> str:
    *others, last = choices
    return f"{', '.join(others)} or {last}" if others else last
