"""The pretrained weights that a detector needs, including those that anomalib's models load themselves.

Missing weights are reported at once, because anomalib would try to download them, some without a timeout. Each
detector's family lists its weights (`families/`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from goodshot.components.weights import require, resolve

if TYPE_CHECKING:
    from goodshot.components.detectors.config import DetectorConfig


def weight_names(config: DetectorConfig) -> tuple[str, ...]:
    """The registry's names of everything that a detector loads: its networks, unless random, and natural photographs.

    Raises `BadInput` for a model that cannot be used, or an argument that names no network of its kind.
    """
    return (*config.family.weights(config), *config.family.photographs(config))


def check_weights(config: DetectorConfig) -> None:
    """Raise `MissingWeights`, with name and remedy, for the first weight of a detector that is not on this machine."""
    for name in weight_names(config):
        require(name, f"detector {config.label}")


def weights_identity(config: DetectorConfig) -> dict[str, str]:
    """Name in the fingerprint → SHA-256 of each network's file that a detector loads.

    Raises `MissingWeights` as `check_weights` does.
    """
    found = {name: resolve(name, f"detector {config.label}").sha256 for name in config.family.weights(config)}
    if len(found) == 1:
        return {"backbone_sha256": next(iter(found.values()))}
    return {f"{name}_sha256": digest for name, digest in found.items()}
