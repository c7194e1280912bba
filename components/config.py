"""The base class of every configuration: frozen, validated when it is read, with plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

LONGEST_NAME = 128
Name = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$",
        max_length=LONGEST_NAME,
        description=f"a name of letters, digits, '_', '.' and '-' only, at most {LONGEST_NAME}, the first no '.'",
    ),
]
"""Names that files, folders, tables and W&B's groups can have, the files' own endings included."""


class Config(BaseModel):
    """A frozen set of options. Unknown keys, NaN and infinity are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    added_since_searches: ClassVar[tuple[str, ...]] = ()
    """Fields that are newer than searches. The identity of a search omits each of them that has its default, so that a
    search which an earlier version began continues."""

    def identified(self) -> dict[str, Any]:
        """Return the options as plain values for the identity of a search, without the defaults of newer fields."""
        fields = type(self).model_fields
        newer = {n for n in self.added_since_searches if getattr(self, n) == fields[n].get_default()}
        values = self.model_dump(mode="json", exclude=newer)
        for name in values:
            own = getattr(self, name)
            if isinstance(own, Config):
                values[name] = own.identified()
            elif isinstance(own, tuple):
                values[name] = [
                    option.identified() if isinstance(option, Config) else value
                    for option, value in zip(own, values[name], strict=True)
                ]
        return values


class OneOf:
    """Annotates a text that has to be one of the names in a registry, which is read whenever a value is checked.

    Args:
        names: the allowed names.
    """

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        self._names = names

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"enum": [*self._names()]}

    def _check(self, value: str) -> str:
        if value not in self._names():
            raise PydanticCustomError("not_one_of", "must be one of the known names")
        return value
