"""What a generator is built of, the same in every process that trains it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.generator.config import GeneratorConfig

if TYPE_CHECKING:
    import numpy as np

    from components.generator.generator import Generator
    from components.generator.variation import VarianceHead


@dataclass(frozen=True)
class GeneratorSpec:
    """Everything that a fresh generator is built of: ``originals`` are K arrays uint8 (H, W, 3)."""

    originals: Sequence[np.ndarray]
    config: GeneratorConfig
    vq_weight: float
    seed: int
    augmentation: str = "mild"
    variance_head: VarianceHead | None = None
    start_sha256: str | None = None
    """Of the start weights, which every node has to have; None where the training starts from scratch."""

    def build(self, device: str) -> Generator:
        """The generator before its first update. Raises BadInput if this node's start weights are others."""
        from components.generator.generator import Generator
        from components.generator.start import check_start

        check_start(self.config.init, self.start_sha256)
        return Generator(
            self.originals, self.config, self.vq_weight, self.seed, self.augmentation, device, self.variance_head
        )
