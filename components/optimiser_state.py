"""An optimiser's moments as named tensors, for checkpoints without pickle."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def moments_of(optimiser: Any, prefix: str) -> dict[str, Tensor]:
    """The moments as ``<prefix>.<parameter>.<name>``, not copies of them."""
    state = optimiser.state_dict()["state"]
    return {f"{prefix}.{i}.{name}": torch.as_tensor(v) for i, moments in state.items() for name, v in moments.items()}


def load_moments(optimiser: Any, prefix: str, tensors: dict[str, Tensor]) -> None:
    """Give the optimiser the moments that `moments_of` returned; ``tensors`` may hold others too."""
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in below(f"{prefix}.", tensors).items():
        index, _, key = name.partition(".")
        moments.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})


def below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with the prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
