"""The networks that classify defects. To add one: its object, and its entry in `NETWORKS`.

torch is imported when a network is built, because a study is read without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from goodshot.components.weights import LITE0_MEAN, LITE0_STD, require, resolve
from goodshot.components.weights.registry import TORCHVISION

if TYPE_CHECKING:
    from torch import nn

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Network:
    """One network: its name in `ClassifierConfig`, the name of its accuracy, and its constructor.

    build: number of types → the network; its input is (B, 3, R, R) in [−1, 1]. weights: the registry name of the
        pretrained start weights; None without them.
    """

    name: str
    metric: str
    build: Callable[[int], nn.Module]
    weights: str | None = None

    @property
    def identity(self) -> dict[str, str]:
        """The SHA-256 of the start weights. Raises :class:`MissingWeights` if they are not on this machine."""
        return (
            {} if self.weights is None else {"weights_sha256": resolve(self.weights, f"classifier {self.name}").sha256}
        )


def _resnet34(types: int) -> nn.Module:
    """torchvision's ResNet-34 with its ImageNet weights, as the papers use it, and a new last layer."""
    import torch

    from goodshot.components.classifiers.classes import Classes

    weights = torch.load(require(_RESNET, "classifier resnet34"), map_location="cpu", weights_only=True)
    trunk = _torchvision_resnet34()
    trunk.load_state_dict(weights)
    trunk.fc = torch.nn.Linear(trunk.fc.in_features, types)
    return Classes(trunk, *_IMAGENET, keeps_statistics=True)


def _resnet34_scratch(types: int) -> nn.Module:
    """torchvision's ResNet-34 with random weights."""
    from torch import nn

    from goodshot.components.classifiers.classes import Classes

    trunk = _torchvision_resnet34()
    trunk.fc = nn.Linear(trunk.fc.in_features, types)
    return Classes(trunk, *_IMAGENET, keeps_statistics=False)


def _torchvision_resnet34() -> Any:
    from torchvision.models import resnet34

    return resnet34(weights=None)


def _lite0(types: int) -> nn.Module:
    """EfficientNet-Lite0 with its ImageNet weights and a new last layer: the embedded substitute for ResNet-34."""
    from goodshot.components.classifiers.classes import Classes
    from goodshot.components.weights.lite0 import load_efficientnet_lite0

    trunk: Any = load_efficientnet_lite0()
    trunk.requires_grad_(True)
    trunk.reset_classifier(types)
    return Classes(trunk, LITE0_MEAN, LITE0_STD, keeps_statistics=True)


_RESNET = f"{TORCHVISION}resnet34"

NETWORKS: tuple[Network, ...] = (
    Network("lite0", "defect_accuracy_lite0", _lite0, "efficientnet_lite0"),
    Network("resnet34", "defect_accuracy", _resnet34, _RESNET),
    Network("resnet34_scratch", "defect_accuracy_resnet34_scratch", _resnet34_scratch),
)


def network_of(name: str) -> Network:
    """The network of this name. Raises KeyError for any other."""
    for network in NETWORKS:
        if network.name == name:
            return network
    raise KeyError(name)
