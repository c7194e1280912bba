"""Identity of a stage: a SHA-256 over its name, version, resolved config and inputs' fingerprints.

Only plain values and data identity are included; callers never pass paths, devices or worker counts.
A value without an exact representation is an error; ``str(o)`` is never used.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Any

_CONSTANTS = {None: "null", True: "true", False: "false"}


@dataclass(frozen=True)
class Canonical:
    """A value in the form that :func:`fingerprint` hashes, computed once for thousands of cells that share it."""

    text: str


def canonical(value: Any, path: str) -> Canonical:
    """The value in canonical form; ``path`` is its path for errors. Raises as :func:`fingerprint` does."""
    return Canonical(_text(value, path))


def fingerprint(stage: str, version: int, config: Mapping[str, Any] | Canonical, inputs: Mapping[str, Any]) -> str:
    """64 hex digits. Equal arguments give equal digits on every machine; any difference changes them.

    Raises:
        TypeError: a value is not a plain one (None, bool, int, float, str, list, tuple, dict), with its path.
        ValueError: a number is NaN or infinite.
    """
    document = {"stage": stage, "version": version, "config": config, "inputs": inputs}
    return hashlib.sha256(_text(document, stage).encode()).hexdigest()


def _text(value: Any, path: str) -> str:
    """JSON without spaces, keys in order."""
    # Exact types: for isinstance a bool is an int and a numpy float a float, and they print differently.
    kind = type(value)
    if kind is str:
        return encode_basestring(value)
    if kind is Canonical:
        return str(value.text)
    if value is None or kind is bool:
        return _CONSTANTS[value]
    if kind is int:
        return str(value)
    if kind is float:
        if not math.isfinite(value):
            raise ValueError(f"{path}: {value} has no identity; give a finite number")
        return f'{{"float":"{value.hex()}"}}'
    if kind is list or kind is tuple:
        return f"[{','.join([_text(item, f'{path}[{i}]') for i, item in enumerate(value)])}]"
    if kind is dict or isinstance(value, Mapping):
        for key in value:
            if type(key) is not str:
                raise TypeError(f"{path}: key {key!r} is not a string")
        members = [f"{encode_basestring(key)}:{_text(value[key], f'{path}.{key}')}" for key in sorted(value)]
        return f"{{{','.join(members)}}}"
    raise TypeError(f"{path}: a {kind.__name__} has no canonical form; pass plain values")
