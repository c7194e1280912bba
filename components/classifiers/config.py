"""The configuration of a classifier."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from goodshot.components.classifiers.networks import NETWORKS, Network, network_of
from goodshot.components.config import OneOf
from goodshot.components.fitting.config import FittingConfig

NetworkName = Annotated[str, OneOf(lambda: [network.name for network in NETWORKS])]


class ClassifierConfig(FittingConfig):
    """A network that classifies defects, and its training. Defaults are for two CPU cores and embedded weights."""

    network: NetworkName = "lite0"
    steps: PositiveInt = 300
    learning_rate: PositiveFloat = 1e-4
    validate_every: NonNegativeInt = 50

    @property
    def kind(self) -> Network:
        """The network that `network` names."""
        return network_of(self.network)

    def identity(self) -> dict[str, Any]:
        """Everything but images and seed that determines the trained weights, as plain values, for a fingerprint.

        Raises :class:`MissingWeights` if the network's pretrained weights are not on this machine.
        """
        return {**self.stated(), **self.kind.identity}


def published(**fields: Any) -> ClassifierConfig:
    """The training of AnomalyDiffusion's evaluation, which the paper follows: pretrained ResNet-34, 256 px, Adam 1e-4.

    30 epochs of five passes over 500 images a type in batches of 8 depend on the number of types; with the seven of
    pill they would be 65,625 steps, of which a tenth is taken. ``fields`` replace fields.
    """
    defaults: dict[str, Any] = {
        "network": "resnet34",
        "resolution": 256,
        "steps": 6_500,
        "learning_rate": 1e-4,
        "validate_every": 500,
    }
    return ClassifierConfig.model_validate({**defaults, **fields})
