"""Tensors as safetensors bytes, and their comparison with the network that they are meant for."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import safetensors.torch as st
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from goodshot.components.errors import BadInput


def tensors_in(content: bytes, what: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of safetensors bytes and their metadata. Raises :class:`BadInput`, which begins with ``what``."""
    try:
        tensors = st.load(content)
        length = struct.unpack("<Q", content[:8])[0]
        header = json.loads(content[8 : 8 + length])
    except (SafetensorError, struct.error, ValueError) as error:
        raise BadInput(f"{what}: not safetensors ({_one_line(error)}); make it again") from None
    return tensors, header.get("__metadata__", {})


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file: safetensors, or a ``.bin`` by torch's reader of plain tensors, which runs no code.

    Raises :class:`BadInput` for anything else.
    """
    if path.suffix == ".safetensors":
        return tensors_in(path.read_bytes(), str(path))[0]
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged or foreign file
        raise BadInput(f"{path}: not plain tensors ({_one_line(error)}); convert it to safetensors") from None
    if not isinstance(loaded, dict):
        raise BadInput(f"{path}: holds a {type(loaded).__name__}, not tensors by name; give another base")
    return {name: value for name, value in loaded.items() if isinstance(value, Tensor)}


def load_exactly(network: nn.Module, given: dict[str, Tensor], what: str) -> None:
    """Copy the tensors into the network. Raises :class:`BadInput` that names the first tensor that differs."""
    wanted = network.state_dict()
    for name in [*wanted, *given]:
        if name not in given:
            raise BadInput(f"{what}: another architecture: it lacks {name} {list(wanted[name].shape)}; {_REMEDY}")
        if name not in wanted:
            raise BadInput(f"{what}: another architecture: the network has no {name}; {_REMEDY}")
        if wanted[name].shape != given[name].shape:
            raise BadInput(
                f"{what}: another architecture: {name} has shape {list(given[name].shape)}, the network wants "
                f"{list(wanted[name].shape)}; {_REMEDY}"
            )
    network.load_state_dict(given)


_REMEDY = "give the checkpoint with its own configuration"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
