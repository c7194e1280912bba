"""The hyperparameter points of a study."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """One point of the hyperparameter space, one Ray Tune trial. ``vq_weight`` is λ, ``iterations`` is L."""

    vq_weight: float
    copies: int
    iterations: int

    def label(self) -> str:
        """Text such as ``vq_weight=1.0 copies=10 iterations=60``."""
        return f"vq_weight={self.vq_weight:g} copies={self.copies} iterations={self.iterations}"
