"""The arm ``original``: the originals alone, the baseline of every comparison."""

from __future__ import annotations

from collections.abc import Iterator

from goodshot.runner.arms.base import Arm, Variant
from goodshot.runner.declaration.fields import Declaration


class Original(Arm):
    """Adds no images."""

    name = label = "original"
    colour = "#0072B2"
    is_baseline = True
    in_words = "the originals alone"
    searched = frozenset({"detectors"})

    def variants(self, study: Declaration) -> Iterator[Variant]:
        """A single variant."""
        yield Variant(self)
