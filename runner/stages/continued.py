"""Training with checkpoints in the store, so that a killed training can be continued."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from goodshot.runner.stages.base import Context, NodeLeaves
from goodshot.runner.store.artifacts import CHECKPOINT, Store

STATE = "state.safetensors"
CHUNK = 20
"""Number of steps between two reports of progress."""
SAVE_SECONDS = 120.0
"""Maximum seconds of training that a killed process loses. A smaller value is slow: large states have gigabytes."""


class Training(Protocol):
    """The interface of a training that runs step by step and continues exactly from its state."""

    @property
    def iteration(self) -> int:
        """The number of steps made."""

    def train(self, to: int, /) -> list[float]:
        """Train until that many steps are made; returns the losses of the new steps."""

    def state(self) -> bytes:
        """Return the state from which the training can continue."""

    def load(self, state: bytes, /) -> None:
        """Continue from :meth:`state`."""


def trained_to(
    training: Training, steps: int, key: str, context: Context, work: str, *, reports: bool = True
) -> list[float]:
    """Train to ``steps`` steps, from the newest checkpoint below ``key``; returns the mean loss of each chunk of steps.

    A checkpoint replaces the one before it, so that the store holds one for each training. work: the kind of work of a
    step, whose cost is that of the steps made now. reports: whether its steps are among those that the plan counts.
    """
    losses = _restored(training, key, context.store)
    first, started = training.iteration, time.perf_counter()
    saved = started
    while training.iteration < steps:
        began, before = time.perf_counter(), training.iteration
        losses.append(float(np.mean(training.train(min(steps, before + CHUNK)))))
        if reports:
            context.stepped(training.iteration, training.iteration - before, time.perf_counter() - began)
        leaves = training.iteration < steps and context.leaving()
        if leaves or (time.perf_counter() - saved > SAVE_SECONDS and training.iteration < steps):
            older = _checkpoints(key, context.store)
            part = f"{key}/{CHECKPOINT}{training.iteration:07d}"
            context.store.put(part, {STATE: training.state()}, {"losses": losses})
            for name in older:
                context.store.discard(f"{key}/{name}")
            saved = time.perf_counter()
        if leaves:
            raise NodeLeaves(f"the training was saved after {training.iteration} steps")
    if training.iteration > first:
        context.measured(work, time.perf_counter() - started, training.iteration - first)
    return losses


def discard_checkpoints(key: str, store: Store) -> None:
    """Delete the checkpoints of a training that has ended."""
    for name in _checkpoints(key, store):
        store.discard(f"{key}/{name}")


def _restored(training: Training, key: str, store: Store) -> list[float]:
    """Load the newest checkpoint, if there is one; returns the losses up to it."""
    names = _checkpoints(key, store)
    if not names:
        return []
    artifact = store.get(f"{key}/{names[-1]}")
    training.load(artifact.read(STATE))
    return list(artifact.info["losses"])


def _checkpoints(key: str, store: Store) -> Sequence[str]:
    return sorted(name for name in store.parts(key) if name.startswith(CHECKPOINT))
