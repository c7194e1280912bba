"""A study from a name or a YAML file, with ``--set key=value`` on top: every mistake is one line with its remedy."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

import experiments
from components.errors import BadInput
from runner.presets import filled, preset_fields
from runner.study import Study


def study_names() -> dict[str, Callable[[], Study]]:
    """Name → function of every study in ``experiments/``: each public function there that is annotated as a Study."""
    found: dict[str, Callable[[], Study]] = {}
    for module_info in pkgutil.iter_modules(experiments.__path__):
        module = importlib.import_module(f"experiments.{module_info.name}")
        for name, value in vars(module).items():
            if callable(value) and getattr(value, "__annotations__", {}).get("return") in (Study, "Study"):
                found[name] = value
    return dict(sorted(found.items()))


def load_study(name: str, settings: Iterable[str] = ()) -> Study:
    """The study called ``name`` in ``experiments/``, or of a YAML file, with ``key=value`` settings applied.

    Raises:
        BadInput: no such study or file, a key that does not exist, or a value that is not allowed.
    """
    values = (
        filled(_read_yaml(Path(name))) if name.endswith((".yaml", ".yml")) else _declared(name).model_dump(mode="json")
    )
    for setting in sorted(settings, key=lambda text: not text.startswith("preset=")):
        _apply(values, setting)
    return validate(values, name)


def validate(values: dict[str, Any], name: str) -> Study:
    """Plain values → a Study, or :class:`BadInput` with the first problem's path and what is allowed."""
    try:
        return Study.model_validate(values)
    except ValidationError as error:
        raise BadInput(f"study {name}: {_first_problem(error)}") from None


def to_yaml(study: Study) -> str:
    """The study as YAML; :func:`load_study` reads it back to an equal study."""
    return yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _declared(name: str) -> Study:
    studies = study_names()
    if name not in studies:
        raise BadInput(f"study {name!r}: there is none; {_did_you_mean(name, studies)}")
    return studies[name]()


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise BadInput(f"study {path}: cannot be read ({error.strerror}); give a YAML file or a study's name") from None
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise BadInput(f"study {path}: not YAML ({problem})") from None
    if not isinstance(values, dict):
        raise BadInput(f"study {path}: holds no mapping of fields; start with 'name: my_study'")
    return values


def _apply(values: dict[str, Any], setting: str) -> None:
    key, separator, text = setting.partition("=")
    if not separator or not key:
        raise BadInput(f"--set {setting}: write it as key=value, for example --set copies=10")
    try:
        value = yaml.safe_load(text) if text else None
    except yaml.YAMLError:
        raise BadInput(f"--set {setting}: the value is not YAML; quote it") from None
    parts = key.split(".")
    model: type[BaseModel] | None = Study
    for part in parts:
        model = _check_key(model, part, key)
    target: Any = values
    for part in parts[:-1]:
        target = target.setdefault(part, {})
        if not isinstance(target, dict):
            raise BadInput(f"--set {key}: {part!r} has no fields of its own")
    target[parts[-1]] = value
    if key == "preset":
        # A declared study has a value for every field; the preset replaces those that it decides.
        values.update(preset_fields(value))


def _check_key(model: type[BaseModel] | None, part: str, key: str) -> type[BaseModel] | None:
    """The model that the key's next part is looked up in; None below a free mapping."""
    if model is None:
        return None
    if part not in model.model_fields:
        raise BadInput(
            f"--set {key}: {part!r} is no field of {_model_name(model)}; {_did_you_mean(part, model.model_fields)}"
        )
    annotation = model.model_fields[part].annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _model_name(model: type[BaseModel]) -> str:
    return "a study" if model is Study else model.__name__.removesuffix("Config").lower()


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    # pydantic names the branch of a union in the path ("constrained-int"); it is no field of ours.
    parts = [str(part) for part in problem["loc"]]
    path = ".".join(part for part in parts if part.isidentifier() or part.isdigit())
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        name = str(problem["loc"][-1])
        return f"{path}: no such field; {_did_you_mean(name, Study.model_fields)}"
    given = "" if problem["type"] == "value_error" else f" (given: {problem.get('input')!r})"
    return f"{path}: {message}{given}" if path else message
