"""Fields of a study that take several values, or a single one."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

T = TypeVar("T")


def _as_list(value: Any) -> Any:
    """Make a tuple of a single value, for a field that takes several values."""
    return value if isinstance(value, list | tuple) else (value,)


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) != len(values):
        raise ValueError("a value is given twice; give each once")
    return values


Several = Annotated[tuple[T, ...], BeforeValidator(_as_list), AfterValidator(_distinct)]
AtLeastOne = Annotated[Several[T], Field(min_length=1)]
