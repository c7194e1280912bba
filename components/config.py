"""The base of every configuration: frozen, validated at the door, plain values inside."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A frozen set of options. Unknown keys, NaN and infinity are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)
