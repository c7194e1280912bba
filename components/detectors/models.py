"""anomalib's models and their arguments, read from its source, because importing it takes 8–12 s."""

from __future__ import annotations

import ast
import difflib
import json
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from goodshot.components.errors import BadInput

OURS = frozenset({"self", "args", "kwargs", "pre_processor", "post_processor", "evaluator", "visualizer"})
"""Arguments that goodshot sets itself, so that nothing post-processes, evaluates or draws the raw scores."""


TABLE = Path(__file__).with_name("models.json")
"""The models of the anomalib version in constraints.txt, as :func:`models` finds them where anomalib is installed."""


@dataclass(frozen=True)
class Model:
    """A model of anomalib: its package, its Lightning module's class, and that class's own arguments.

    `defaults` are the default values of those arguments, as far as they are plain values. `one_pass` is true of a
    memory bank, whose module itself asks for a fixed number of epochs.
    """

    name: str
    module: str
    cls: str
    arguments: tuple[str, ...]
    defaults: dict[str, Any] = field(default_factory=dict, hash=False)
    one_pass: bool = False


@lru_cache
def models() -> dict[str, Model]:
    """Every image model of the installed anomalib by its anomalib name (``reverse_distillation``), sorted."""
    try:
        spec = find_spec("anomalib")
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        # A laptop that only submits studies: the models of the pinned version.
        return {name: Model(**fields) for name, fields in json.loads(TABLE.read_text(encoding="utf-8")).items()}
    folder = Path(spec.origin).parent / "models" / "image"
    found = {}
    for source in sorted(folder.glob("*/lightning_model.py")):
        name = source.parent.name
        for node in ast.parse(source.read_text(encoding="utf-8")).body:
            # Distinguishes the module's class from its helpers.
            if isinstance(node, ast.ClassDef) and _method(node, "learning_type"):
                module = f"anomalib.models.image.{name}.lightning_model"
                found[name] = Model(name, module, node.name, _arguments(node), _defaults(node), _one_pass(node))
    return found


@lru_cache
def find_model(name: str) -> Model:
    """The model of that name; case and underscores do not matter. Raises BadInput with the nearest name."""
    known = {plain(model): model for model in models()}
    if plain(name) not in known:
        near = difflib.get_close_matches(plain(name), known, n=1)
        hint = f"did you mean {known[near[0]]}?" if near else f"there are: {', '.join(models())}"
        raise BadInput(f"detector {name!r}: anomalib has no such model; {hint}")
    return models()[known[plain(name)]]


def check_arguments(model: Model, arguments: dict[str, object]) -> None:
    """Raises BadInput for an argument that the model does not take, with the nearest one that it takes."""
    for argument in arguments:
        if argument not in model.arguments:
            near = difflib.get_close_matches(argument, model.arguments, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it takes: {', '.join(model.arguments) or 'none'}"
            raise BadInput(f"detector {model.name}: has no argument {argument!r}; {hint}")


def _arguments(node: ast.ClassDef) -> tuple[str, ...]:
    init = _method(node, "__init__")
    names = [a.arg for a in (*init.args.args, *init.args.kwonlyargs)] if init else []
    return tuple(name for name in names if name not in OURS)


def _defaults(node: ast.ClassDef) -> dict[str, Any]:
    init = _method(node, "__init__")
    if init is None:
        return {}
    named = [a.arg for a in init.args.args]
    pairs = [*zip(reversed(named), reversed(init.args.defaults), strict=False)]
    pairs += [(a.arg, d) for a, d in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True) if d]
    found = {}
    for name, value in pairs:
        with suppress(ValueError):  # an enum or a call, which is not a plain value
            found[name] = ast.literal_eval(value)
    return {name: value for name, value in found.items() if name not in OURS}


def _one_pass(node: ast.ClassDef) -> bool:
    arguments = _method(node, "trainer_arguments")
    return arguments is not None and any(
        isinstance(n, ast.Dict) and any(isinstance(k, ast.Constant) and k.value == "max_epochs" for k in n.keys)
        for n in ast.walk(arguments)
    )


def _method(node: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    return next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == name), None)


def plain(name: str) -> str:
    """A name for comparisons: without case, hyphens and underscores."""
    return name.replace("_", "").replace("-", "").casefold()
