"""The hyperparameter points of a study, and how tables and figures show their fields."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PointField:
    """One field of every point: its name in studies and rows, its symbol in tables and figures, and its meaning."""

    name: str
    symbol: str
    meaning: str

    @property
    def title(self) -> str:
        """The symbol with the name, such as ``λ (vq_weight)``; only the name if it has no symbol of its own."""
        return self.name if self.name == self.symbol else f"{self.symbol} ({self.name})"


VQ_WEIGHT = PointField("vq_weight", "λ", "the weight of the VQGAN's own loss")
COPIES = PointField("copies", "copies", "the number of added images")
ITERATIONS = PointField("iterations", "L", "the number of iterations that images were chosen from")
POINT_FIELDS = (VQ_WEIGHT, COPIES, ITERATIONS)
OF_A_TRAINING = (VQ_WEIGHT, ITERATIONS)
"""The fields that only a variant with a generator has; the table of results has a column for each."""
SWEPT = tuple(field.name for field in POINT_FIELDS)
"""The names of the fields that a study lists several values for; each is part of every point."""


def symbol_of(name: str) -> str:
    """The symbol of a searched field, such as λ for ``vq_weight``; its name if it has no symbol of its own."""
    return next((field.symbol for field in POINT_FIELDS if field.name == name), name)


def title_of(name: str) -> str:
    """The symbol and name of a searched field, as ``λ (vq_weight)``; only its name if it has no symbol of its own."""
    return next((field.title for field in POINT_FIELDS if field.name == name), name)


@dataclass(frozen=True, slots=True)
class Point:
    """One point of the hyperparameter space, one Ray Tune trial. ``vq_weight`` is λ, ``iterations`` is L."""

    vq_weight: float
    copies: int
    iterations: int

    def label(self) -> str:
        """Text such as ``vq_weight=1.0 copies=10 iterations=60``."""
        return f"vq_weight={self.vq_weight:g} copies={self.copies} iterations={self.iterations}"
