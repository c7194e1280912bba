"""Every field of a study, however deep: a wrong type, a value out of range and a misspelt name are one clear line each.

The fields are found by walking the models, so that one which is added tomorrow is tested too.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel, BeforeValidator, Field, ValidationError
from pydantic.fields import FieldInfo

from goodshot.components.classifiers.networks import NETWORKS
from goodshot.components.config import Config
from goodshot.components.data import dataset_names
from goodshot.components.errors import BadInput
from goodshot.components.metrics.declared import objectives
from goodshot.runner.cells import cell_kinds
from goodshot.runner.named import load_study
from goodshot.runner.study.problems import first_problem
from goodshot.runner.study.settings import validate
from goodshot.runner.study.study import Study

JARGON = re.compile(r"Input|valid |instance of|https?:|Config\b|constrained|literal\[|function|Value error|\^")
"""Words of pydantic's, and of a pattern."""
NAMED = "coin"
"""A name in a mapping of names."""
WRONG: dict[str, Any] = {
    "text": "no such", "number": 7.5, "mapping": {"a": 1}, "null": None, "list": [[{}]], "boolean": True,
}  # fmt: skip
"""By its type, a value that is not allowed wherever the type is not."""
TYPES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", NoneType: "null"}
BOUNDS = {"ge": ("of at least", -1), "gt": ("above", 0), "le": ("at most", 1), "lt": ("below", 0)}
"""By pydantic's name: ours, and how far beyond the bound a value is outside of it."""
TAKES = {str: {"text"}, float: {"number"}, bool: {"boolean"}, NoneType: {"null"}, Any: {*WRONG}}


@dataclass(frozen=True)
class Kind:
    """One alternative of what a field may hold, with the constraints on it."""

    type: Any
    constraints: tuple[Any, ...] = ()

    @property
    def is_model(self) -> bool:
        return isinstance(self.type, type) and issubclass(self.type, BaseModel)

    @property
    def is_mapping(self) -> bool:
        return self.is_model or get_origin(self.type) is dict

    @property
    def items(self) -> tuple[Kind, ...]:
        """What its entries may be, of a list."""
        return tuple(kinds(get_args(self.type)[0])) if get_origin(self.type) is tuple else ()

    def takes(self) -> set[str]:
        """The types that are not wrong here; a list may take a single entry too."""
        if self.is_mapping:
            return {"mapping"}
        single = self.items if any(isinstance(c, BeforeValidator) for c in self.constraints) else ()
        return TAKES.get(self.type, set()).union(*(item.takes() for item in single))

    def bound(self, name: str) -> Any:
        return next((getattr(c, name) for c in self.constraints if getattr(c, name, None) is not None), None)

    def words(self) -> list[str]:
        """What a line has to say about what is allowed."""
        if self.is_model:
            return [f"a mapping with any of {', '.join(self.type.model_fields)}"]
        if get_origin(self.type) is Literal:
            return [repr(choice) for choice in get_args(self.type)]
        if self.bound("pattern"):
            return []
        return [TYPES.get(self.type) or ("a mapping" if self.is_mapping else "a list")]

    def outside(self) -> Iterator[tuple[Any, list[str]]]:
        """Values outside of the range or the choices, and what the line has to say of them."""
        for name, (words, beyond) in BOUNDS.items():
            if (bound := self.bound(name)) is not None:
                yield bound + beyond, [f"{words} {bound}"]
        if self.type is float:
            yield from ((value, ["finite"]) for value in (math.inf, math.nan))
        if self.bound("min_length") and self.items:
            yield [], [f"at least {self.bound('min_length')}"]
        if self.bound("pattern"):
            yield "not / allowed", []
        if get_origin(self.type) is Literal:
            yield "no such", self.words()


@dataclass(frozen=True)
class Spot:
    """A field, an entry of one or a value below a name: its dotted path, and what it may hold."""

    path: str
    kinds: tuple[Kind, ...]

    def __str__(self) -> str:
        return self.path


def kinds(annotation: Any, constraints: tuple[Any, ...] = ()) -> Iterator[Kind]:
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        more = [c for m in more for c in (m.metadata if isinstance(m, FieldInfo) else [m])]
        yield from kinds(inner, (*constraints, *more))
    elif get_origin(annotation) in (Union, UnionType):
        for branch in get_args(annotation):
            yield from kinds(branch, constraints)
    else:
        yield Kind(annotation, constraints)


def spots(model: type[BaseModel], above: str = "") -> Iterator[Spot]:
    for name, field in model.model_fields.items():
        yield from below(Spot(f"{above}{name}", tuple(kinds(field.annotation, tuple(field.metadata)))))


def below(spot: Spot) -> Iterator[Spot]:
    """The spot itself, then all in it."""
    yield spot
    for kind in spot.kinds:
        if kind.is_model:
            yield from spots(kind.type, f"{spot.path}.")
        elif kind.items:
            yield from below(Spot(f"{spot.path}.0", kind.items))
        elif kind.is_mapping:
            yield from below(Spot(f"{spot.path}.{NAMED}", tuple(kinds(get_args(kind.type)[1]))))


EVERY = [spot for spot in spots(Study) if Kind(Any) not in spot.kinds]
MODELS = [("", Study), *((f"{spot.path}.", kind.type) for spot in EVERY for kind in spot.kinds if kind.is_model)]
BY_ITSELF = {
    "generator.vqgan": ["small, embedded, f16, f16_16384, or a mapping of its fields"],
    **{key: [repr(name) for name in dataset_names()] for key in ("dataset.name", "variation_sources.0.name")},
    **{key: [repr(kind.name) for kind in cell_kinds()] for key in ("cells", "cells.0")},
    "objective": [repr(metric.name) for metric in objectives()],
    "synthesis.classifier.network": [repr(network.name) for network in NETWORKS],
}
"""What a field that takes other values than its type's says of them, by its own validator."""


RANGE = f"search.space.{NAMED}"
BESIDE = {"low": 1, "high": 2}
"""What a range has to have besides the field that is wrong."""


def nested(path: str, value: Any) -> dict[str, Any]:
    """Values of a study with one at a path, as YAML would give them."""
    *above, last = path.split(".")
    value = [value] if last == "0" else {**(BESIDE if ".".join(above) == RANGE else {}), last: value}
    for part in reversed(above):
        value = [value] if part == "0" else {part: value}
    return {"name": "demo", **value}


def settings(path: str, value: Any) -> list[str]:
    """The same as ``--set``: lists may be empty in the study, so they are given first."""
    head, found, tail = path.rpartition(".0")
    if found and not tail:
        return settings(head, [value])
    # JSON is YAML, but for its words for what is no number.
    text = re.sub(r"Infinity|NaN", lambda word: {"Infinity": ".inf", "NaN": ".nan"}[word[0]], json.dumps(value))
    first = [f"{head}=[{{}}]"] if found else []
    first += [f"{RANGE}={json.dumps(BESIDE)}"] if path.startswith(f"{RANGE}.") else []
    return [*first, f"{path}={text}"]


def refused(path: str, value: Any) -> str:
    """The one line that both ways of giving the value are refused with."""
    with pytest.raises(BadInput) as by_yaml:
        validate(nested(path, value), "demo")
    with pytest.raises(BadInput) as by_setting:
        load_study("demo", settings(path, value))
    line = str(by_yaml.value)
    assert str(by_setting.value) == line
    assert len(line.splitlines()) == 1
    assert not JARGON.search(line), line
    return line


def check(spot: Spot, value: Any, *allowed: list[str]) -> None:
    """The line has the path, what was given, and all words of one of the lists of what is allowed."""
    line = refused(spot.path, value)
    # A single value in place of a list is wrong as its first entry.
    found = re.match(rf"study demo: {re.escape(spot.path)}(\.0)?: must be .* \(given: (.*)\)$", line)
    assert found, line
    assert found[1] or found[2] in (repr(value), "null" if value is None else None), line
    assert any(all(word in line for word in words) for words in allowed), (allowed, line)


def test_the_walk_finds_every_field() -> None:
    def leaves(values: Any, path: str = "") -> Iterator[str]:
        if isinstance(values, dict) and values:
            yield from itertools.chain(*(leaves(value, f"{path}.{name}") for name, value in values.items()))
        elif isinstance(values, list) and values and isinstance(values[0], dict):
            yield from leaves(values[0], f"{path}.0")
        else:
            yield path.removeprefix(".")

    found = {spot.path for spot in spots(Study)}
    assert {*leaves(Study(name="x").model_dump(mode="json"))} <= found
    assert {"generator.vqgan.channels", "support.coin.0", "detectors.0.layers.0", "variation_sources.0.root"} <= found
    assert len(EVERY) > 100


@pytest.mark.parametrize("spot", EVERY, ids=str)
def test_a_wrong_type(spot: Spot) -> None:
    takes = set().union(*(kind.takes() for kind in spot.kinds))
    itself = [word for kind in spot.kinds for word in kind.words()]
    entries = [[word for item in kind.items for word in item.words()] for kind in spot.kinds if kind.items]
    for value in (value for name, value in WRONG.items() if name not in takes):
        check(spot, value, BY_ITSELF.get(spot.path, itself), *entries)


@pytest.mark.parametrize("spot", EVERY, ids=str)
def test_a_value_outside_of_its_range_or_choices(spot: Spot) -> None:
    for kind in spot.kinds:
        for value, words in kind.outside():
            check(spot, value, words)


@pytest.mark.parametrize(("above", "model"), MODELS, ids=str)
def test_a_misspelt_name_at_every_level(above: str, model: type[BaseModel]) -> None:
    for name in model.model_fields:
        path, meant = f"{above}{name}x", f"did you mean {name!r}?"
        with pytest.raises(BadInput, match=rf"^study demo: {re.escape(path)}: no such field; {re.escape(meant)}$"):
            validate(nested(path, 1), "demo")
        if above == f"{RANGE}.":
            continue  # --set cannot tell it from a field of that name: the names there are paths themselves
        *first, last = settings(path, 1)
        line = f"--set {last}: '{name}x' is no field of {above.rstrip('.') or 'a study'}; {meant}"
        with pytest.raises(BadInput, match=f"^{re.escape(line)}$"):
            load_study("demo", [*first, last])


def test_a_name_like_no_other_is_told_all_of_them() -> None:
    with pytest.raises(BadInput, match=r"planted\.zzz: no such field; there are: normals, defects$"):
        validate(nested("planted.zzz", 1), "demo")


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({}, r"name: has to be given: a name of letters"),
        ({"name": "x", 3: 4}, r"3: no such field; there are: name, "),
        ({"name": "x", "a\nb": 4}, r"a b: no such field"),
        ({"name": "x", "objects": {3: "nut"}}, r"objects\.3: a name must be text; put it in quotes \(given: 3\)"),
        ({"name": "x", "objects": {"pill (2)": 3}}, r"objects\.pill \(2\): must be text"),
        ({"name": "x", "generator": {"betas": [0.5]}}, r"generator\.betas\.1: has to be given: a number"),
        ({"name": "x", "generator": {"betas": [0, 0, 0]}}, r"generator\.betas: must be a list of 2: a number, a"),
        ({"name": "x", "generator": {"resolution": 9.5}}, r"generator\.resolution: must be a whole .* 9\.5\)"),
        (
            {"name": "x", "detectors": {"num_neighbors": True}},
            r"detectors\.0\.num_neighbors: must be .* True\)",
        ),
        ({"name": date(2026, 1, 2)}, r"name: must be a name of .* \(given: 2026-01-02\)"),
        ({"name": "x", "title": [1] * 99}, r"title: must be text \(given: \[1, 1, .{,90}…\)$"),
    ],
)
def test_what_only_a_file_can_get_wrong(values: dict[Any, Any], line: str) -> None:
    with pytest.raises(BadInput, match=rf"^study x: {line}") as caught:
        validate(values, "x")
    assert len(str(caught.value).splitlines()) == 1


class Grid(Config):
    kind: Literal["grid"] = "grid"
    steps: int = Field(default=3, ge=2)


class Random(Config):
    kind: Literal["random"] = "random"
    trials: Annotated[int, Field(multiple_of=4)] = 4


class Tomorrow(Config):
    """Shapes of a field that no study has yet."""

    either: Grid | Random = Grid()
    tagged: Annotated[Grid | Random, Field(discriminator="kind")] = Grid()
    maybe: Grid | None = None
    named: dict[str, Grid] = Field(default={})
    text: Annotated[str, Field(min_length=2, max_length=3)] = "ab"


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"either": {"steps": 1}}, "either.steps: must be a whole number of at least 2 (given: 1)"),
        ({"tagged": {"kind": "grid", "steps": 1}}, "tagged.steps: must be a whole number of at least 2 (given: 1)"),
        ({"tagged": {"kind": "grid", "stepps": 1}}, "tagged.stepps: no such field; did you mean 'steps'?"),
        ({"tagged": {"kind": "random", "trials": 3}}, "tagged.trials: must be a whole number in steps of 4 (given: 3)"),
        ({"maybe": 3}, "maybe: must be a mapping with any of kind, steps, or null (given: 3)"),
        ({"maybe": {"stepps": 1}}, "maybe.stepps: no such field; did you mean 'steps'?"),
        ({"named": {"a": {"steps": 1}}}, "named.a.steps: must be a whole number of at least 2 (given: 1)"),
        ({"text": "abcd"}, "text: must be text of at least 2 and at most 3 characters (given: 'abcd')"),
    ],
)
def test_fields_of_shapes_that_no_study_has_yet(values: dict[str, Any], line: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Tomorrow.model_validate(values)
    assert first_problem(Tomorrow, caught.value) == line
