"""Which file ``GeneratorConfig.init`` names, whether this machine has it, and its SHA-256. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goodshot.components.errors import BadInput, MissingWeights
from goodshot.components.weights import file_sha256, require, resolve
from goodshot.components.weights.registry import TAMING, TAMING_MODELS

EMBEDDED: Final = Path(__file__).parent / "embedded.safetensors"
"""The start weights that are embedded in goodshot, if they are installed."""


@dataclass(frozen=True)
class StartFile:
    """A file of start weights on this machine, and the SHA-256 of its bytes."""

    path: Path
    sha256: str


def start_file(init: str) -> StartFile | None:
    """The file that ``GeneratorConfig.init`` names; None for ``scratch``. Only its bytes are read, once.

    Raises:
        MissingWeights: the file is not on this machine; the message has its location and the remedy.
    """
    if init == "scratch":
        return None
    path = _start_path(init)
    if (name := start_weights(init)) is not None:
        resolve(name)  # checks the published hash, if there is one
    return StartFile(path, file_sha256(path))


def _start_path(init: str) -> Path:
    path = EMBEDDED if init == "embedded" else _taming_path(init.removeprefix(TAMING))
    if not path.is_file():
        raise MissingWeights(
            f"generator.init = {init}: no file {path}; this goodshot has no embedded start weights, "
            "use generator.init=scratch"
        )
    return path


def start_weights(init: str) -> str | None:
    """The registry name of the weights of ``init``; None for ``scratch``, the embedded start and a user's file."""
    return init if init.startswith(TAMING) and init.removeprefix(TAMING) in TAMING_MODELS else None


def check_start_file(init: str) -> None:
    """Raise :class:`MissingWeights` unless the file that ``init`` names exists; its content is not read."""
    if init != "scratch":
        _start_path(init)


def check_start(init: str, sha256: str | None) -> None:
    """Raise :class:`BadInput` unless ``init`` has the content that the plan recorded, possibly on another machine."""
    file = start_file(init)
    if file is not None and file.sha256 != sha256:
        raise BadInput(
            f"generator.init = {init}: {file.path} is not the file of the plan (SHA-256 {file.sha256[:12]}…, "
            f"not {str(sha256)[:12]}…); put the same file on every node, and plan again if it was replaced"
        )


def _taming_path(name: str) -> Path:
    if name in TAMING_MODELS:
        return require(f"{TAMING}{name}", f"generator.init = {TAMING}{name}")
    path = Path(name).expanduser()
    if not path.is_file():
        raise MissingWeights(
            f"generator.init = {TAMING}{name}: no file {path}; give a checkpoint file, or one of "
            + ", ".join(TAMING_MODELS)
        )
    return path
