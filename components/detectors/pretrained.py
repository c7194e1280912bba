"""The pretrained weights that a detector needs, those that anomalib's models load themselves included.

Found on this machine, or named as missing at once: anomalib would try to download them, some without a timeout. Which
they are, each detector's family says (`families/`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.weights import require, resolve

if TYPE_CHECKING:
    from components.detectors.config import DetectorConfig


def weight_names(config: DetectorConfig) -> tuple[str, ...]:
    """The registry's names of what a detector loads: its networks, unless their weights are random, and photographs.

    Raises `BadInput` for a model that cannot be used, or an argument that names no network of its kind.
    """
    return (*config.family.weights(config), *config.family.photographs(config))


def check_weights(config: DetectorConfig) -> None:
    """Raise `MissingWeights`, naming it and its remedy, for the first thing that a detector lacks on this machine."""
    for name in weight_names(config):
        require(name, f"detector {config.label}")


def weights_identity(config: DetectorConfig) -> dict[str, str]:
    """The SHA-256 of each network's file that a detector loads, by what a fingerprint calls it.

    Raises `MissingWeights` as `check_weights`.
    """
    found = {name: resolve(name, f"detector {config.label}").sha256 for name in config.family.weights(config)}
    if len(found) == 1:
        return {"backbone_sha256": next(iter(found.values()))}
    return {f"{name}_sha256": digest for name, digest in found.items()}
