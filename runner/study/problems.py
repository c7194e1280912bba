"""One-line messages about wrong fields of a study: the field's path, the allowed values, and the given value.

The allowed values are read from the JSON schema that pydantic makes of the study. They are thus stated once, in the
field's type, and a new field needs no change here.
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
"""JSON schema's name of a bound → our words. pydantic writes ``minLength`` also for a list given as a single value."""
UNKNOWN_NAME = ("extra_forbidden", "invalid_key")
KEY = "[key]"
"""The last part of pydantic's path when a mapping's key is wrong, and not its value."""
PLAIN = (str, int, float, list, tuple, dict)
SHOWN = 80
"""Maximum length in characters of a wrong value in a message."""


@dataclass(frozen=True)
class SchemaNode:
    """A node of a study's JSON schema: the values that one field may have."""

    schema: Mapping[str, Any]
    definitions: Mapping[str, Any]

    @classmethod
    @lru_cache
    def of(cls, model: type[BaseModel]) -> SchemaNode:
        """The root node, whose children are the model's own fields.

        It is cached, because every point of a search is validated and a schema takes 20 ms. Dataset names are part of
        it: a test that adds a dataset clears the cache.
        """
        schema = model.model_json_schema()
        return cls(schema, schema.get("$defs", {}))

    @property
    def fields(self) -> dict[str, Any]:
        """Name → schema of the fields below this node."""
        return {name: child for branch in self._branches() for name, child in branch.get("properties", {}).items()}

    @property
    def is_list(self) -> bool:
        """Whether the children of this node are list entries."""
        return any(branch.get("type") == "array" for branch in self._branches())

    @property
    def named(self) -> SchemaNode | None:
        """The node of each value of a mapping whose keys are names; None if they are fields, or it holds anything."""
        found = (branch.get("additionalProperties") for branch in self._branches())
        return next((SchemaNode(schema, self.definitions) for schema in found if isinstance(schema, dict)), None)

    @property
    def is_number(self) -> bool:
        """Whether this node allows a number, and neither true nor false."""
        kinds = {branch.get("type") for branch in self._branches()}
        return bool(kinds & {*NUMBERS}) and "boolean" not in kinds

    def child(self, part: str | int) -> SchemaNode | None:
        """The child node of that name or index; None if there is none."""
        found = (_child(branch, part) for branch in self._branches())
        return next((SchemaNode(schema, self.definitions) for schema in found if schema is not None), None)

    def allowed(self) -> str:
        """The allowed values in words: ``a whole number of at least 1, or 'full'``."""
        branches = self._branches()
        choices = [choice for branch in branches for choice in _choices(branch)]
        kinds = [self._kind(branch) for branch in branches if not _choices(branch)]
        return ", or ".join([*kinds, *([_either(choices)] if choices else [])])

    def _branches(self) -> list[Mapping[str, Any]]:
        """The alternatives of a union, else the schema itself; references are resolved."""
        if "$ref" in self.schema:
            return SchemaNode(self.definitions[self.schema["$ref"].rpartition("/")[2]], self.definitions)._branches()
        union = self.schema.get("anyOf") or self.schema.get("oneOf")
        if union is None:
            return [self.schema]
        return [branch for schema in union for branch in SchemaNode(schema, self.definitions)._branches()]

    def _kind(self, branch: Mapping[str, Any]) -> str:
        match branch.get("type"):
            case "array":
                return self._list(branch)
            case "object" if "properties" in branch:
                return f"a mapping with any of {', '.join(branch['properties'])}"
            case "object":
                return f"a mapping of names to {self._allowed_of(branch.get('additionalProperties'))}"
            case "string" if "pattern" in branch:
                # A regular expression tells a reader nothing, so its field's description is preferred.
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
            return f"a list of {len(each)}: {', '.join(map(self._allowed_of, each))}"
        return f"{_bounded('a list', branch)}, each {self._allowed_of(branch.get('items'))}"

    def _allowed_of(self, schema: Any) -> str:
        return SchemaNode(schema if isinstance(schema, dict) else {}, self.definitions).allowed()


def first_problem(model: type[BaseModel], error: ValidationError) -> str:
    """One line about the first wrong value of a ``model``."""
    return " ".join(_line(SchemaNode.of(model), error.errors()[0]).splitlines())


def misplaced_boolean(model: type[BaseModel], values: Mapping[str, Any]) -> str | None:
    """One line about the first true or false where a number is required, which pydantic accepts as 1 or 0."""
    return _boolean(SchemaNode.of(model), values, "")


def _boolean(node: SchemaNode, given: Any, path: str) -> str | None:
    if isinstance(given, bool):
        # A list of one entry may be given as that entry.
        is_number = any(each.is_number for each in (node, node.child(0)) if each is not None)
        return f"{path[:-1]}: must be {node.allowed()} (given: {given})" if is_number else None
    if isinstance(given, Mapping) and node.is_list and not node.fields and (only := node.child(0)) is not None:
        return _boolean(only, given, f"{path}0.")
    entries = given.items() if isinstance(given, Mapping) else enumerate(given) if isinstance(given, list) else ()
    found = (_boolean(child, value, f"{path}{name}.") for name, value in entries if (child := node.child(name)))
    return next((problem for problem in found if problem is not None), None)


def no_such_field(node: SchemaNode, path: Sequence[str], part: str) -> str:
    """The message that the node at ``path`` has no child called ``part``."""
    where = ".".join(path)
    if node.fields:
        return f"{part!r} is no field of {where or 'a study'}; {did_you_mean(part, node.fields)}"
    if node.is_list:
        return f"{where} is a list; name an entry by its number: {where}.0 is the first"
    return f"{where!r} has no fields of its own; it is {node.allowed()}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A remedy for an unknown word: the nearest known word, or the list of all."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"


def _line(study: SchemaNode, problem: ErrorDetails) -> str:
    names = [part for part in problem["loc"] if part != KEY]
    unknown = names.pop() if problem["type"] in UNKNOWN_NAME else None
    node, path = study, ""
    for name in names:
        # A name without a node is pydantic's own name for a branch of a union.
        if child := node.child(name):
            node, path = child, f"{path}{name}."
    if unknown is not None:
        return f"{path}{unknown}: no such field; {did_you_mean(str(unknown), node.fields)}"
    return f"{path[:-1]}: {_message(node, problem)}" if path else _message(node, problem)


def _message(node: SchemaNode, problem: ErrorDetails) -> str:
    if problem["type"] == "value_error":
        return problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"has to be given: {node.allowed()}"
    given = _shown(problem["input"])
    if KEY in problem["loc"]:
        return f"a name must be text; put it in quotes (given: {given})"
    number = problem["input"]
    finite = ", and finite" if isinstance(number, float) and not math.isfinite(number) else ""
    return f"must be {node.allowed()}{finite} (given: {given})"


def _shown(given: Any) -> str:
    """The given value as in a YAML file; a date, for example, is not shown as a Python call."""
    text = "null" if given is None else repr(given) if isinstance(given, PLAIN) else str(given)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _child(branch: Mapping[str, Any], part: str | int) -> Any:
    """The schema of that name or index below a schema; None if there is none."""
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
