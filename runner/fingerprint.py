"""Identity of a stage: a SHA-256 over its name, version, resolved config and inputs' fingerprints.

Literals and data identity count; paths, devices and worker counts never reach it, because callers never pass them.
What cannot be written down exactly is an error, never ``str(o)``.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any


def fingerprint(stage: str, version: int, config: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
    """64 hex digits. Equal arguments give equal digits on every machine; any difference in them changes it.

    Raises:
        TypeError: a value is not a plain one (None, bool, int, float, str, list, tuple, dict), with its path.
        ValueError: a number is NaN or infinite.
    """
    document = {"stage": stage, "version": version, "config": config, "inputs": inputs}
    text = json.dumps(_canonical(document, stage), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value: Any, path: str) -> Any:
    # Exact types: a bool is an int and a numpy float a float to isinstance, and they print differently.
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        if not math.isfinite(value):
            raise ValueError(f"{path}: {value} has no identity; give a finite number")
        return {"float": value.hex()}
    if type(value) in (list, tuple):
        return [_canonical(item, f"{path}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {_key(key, path): _canonical(item, f"{path}.{key}") for key, item in value.items()}
    raise TypeError(f"{path}: a {type(value).__name__} has no canonical form; pass plain values")


def _key(key: Any, path: str) -> str:
    if type(key) is not str:
        raise TypeError(f"{path}: key {key!r} is not a string")
    return key
