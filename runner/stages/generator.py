"""The specification of a generator, equal in all processes that train it together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from goodshot.components.generator.config import GeneratorConfig

if TYPE_CHECKING:
    import numpy as np

    from goodshot.components.generator.generator import Generator
    from goodshot.components.generator.variation import VarianceHead


@dataclass(frozen=True)
class GeneratorSpec:
    """All that is needed to build an untrained generator. ``originals`` are K arrays uint8 RGB (H, W, 3)."""

    originals: Sequence[np.ndarray]
    config: GeneratorConfig
    vq_weight: float
    seed: int
    augmentation: str = "mild"
    variance_head: VarianceHead | None = None
    start_sha256: str | None = None
    """SHA-256 of the start weights, which every node must have; None if the training starts from scratch."""

    def build(self, device: str) -> Generator:
        """The generator before its first update. Raises BadInput if the start weights of this node differ."""
        from goodshot.components.generator.generator import Generator
        from goodshot.components.generator.start_file import check_start

        check_start(self.config.init, self.start_sha256)
        return Generator(
            self.originals, self.config, self.vq_weight, self.seed, self.augmentation, device, self.variance_head
        )
