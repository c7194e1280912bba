"""The text-guided knowledge integrator (§4.2): score every image set of a training against the prompt, keep the best.

# S scored iterations, M samples each, d embedding size
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from goodshot.components.errors import BadInput

Select = Literal["text", "last"]


@dataclass(frozen=True)
class Trace:
    """The embeddings of a training's samples: ``iterations`` int (S,), unit ``embeddings`` float32 (S, M, d)."""

    iterations: np.ndarray
    embeddings: np.ndarray

    def __post_init__(self) -> None:
        if len(self.iterations) != len(self.embeddings):
            raise BadInput(f"trace: {len(self.iterations)} iterations but {len(self.embeddings)} sets of embeddings")

    def extended(self, iteration: int, embeddings: np.ndarray) -> Trace:
        """This trace with one more scored iteration, ``embeddings`` (M, d)."""
        if not len(self.iterations):
            return Trace(np.array([iteration]), embeddings[None].astype(np.float32))
        return Trace(
            np.append(self.iterations, iteration),
            np.concatenate([self.embeddings, embeddings[None].astype(np.float32)]),
        )


EMPTY = Trace(np.zeros(0, dtype=np.int64), np.zeros((0, 0, 0), dtype=np.float32))


@dataclass(frozen=True)
class Choice:
    """The chosen iteration α (eq. 5) and its cos(z_t, z_v^α), which is NaN if the text was not used."""

    iteration: int
    similarity: float


def similarities(trace: Trace, text: np.ndarray, copies: int) -> np.ndarray:
    """cos(z_t, z_v^l) for every scored l, float64 (S,); z_v^l is the mean of the first ``copies`` embeddings (eq. 4).

    Args:
        text: z_t, the prompt's unit embedding (d,).
        copies: M. Raises :class:`BadInput` if the trace holds fewer samples.
    """
    if trace.embeddings.shape[1] < copies:
        raise BadInput(f"copies = {copies}: the trace holds {trace.embeddings.shape[1]} samples per iteration")
    mean = trace.embeddings[:, :copies].astype(np.float64).mean(axis=1)
    norms = np.linalg.norm(mean, axis=1) * np.linalg.norm(text)
    return np.asarray(mean @ text.astype(np.float64) / np.maximum(norms, 1e-12))


def choose(trace: Trace, text: np.ndarray | None, copies: int, iterations: int, select: Select) -> Choice:
    """Eq. 5: the best set among the scored l ≤ L; ties take the earliest. ``last`` ignores the text.

    Raises:
        BadInput: nothing was scored up to ``iterations``.
    """
    within = int(np.searchsorted(trace.iterations, iterations, side="right"))
    if within == 0:
        raise BadInput(f"iterations = {iterations}: no iteration was scored up to it; score_every must divide it")
    scores = np.full(within, np.nan) if text is None else similarities(trace, text, copies)[:within]
    best = within - 1 if select == "last" or text is None else int(scores.argmax())
    return Choice(int(trace.iterations[best]), float(scores[best]))
