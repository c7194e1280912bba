"""The base of every configuration: frozen, validated at the door, plain values inside."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_.-]+$", description="a name of letters, digits, '_', '.' and '-' alone")
]
"""What files, folders and tables can be called."""


class Config(BaseModel):
    """A frozen set of options. Unknown keys, NaN and infinity are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)
